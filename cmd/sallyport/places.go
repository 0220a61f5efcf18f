package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/policy"
)

// places are where a policy looks for a request's token.
type places struct {
	sources   []policy.TokenSource
	parameter string // of the query; "" for none
}

func placesOf(n *policy.Needs) places {
	p := places{sources: n.Tokens}
	if len(p.sources) == 0 {
		p.sources = policy.DefaultTokens()
	}
	if n.Rule != nil {
		p.parameter = n.Rule.QueryToken
	}
	return p
}

// within reports whether a token is looked for in none of the places but those.
func (p places) within(o places) bool {
	for i := range p.sources {
		if !o.has(&p.sources[i]) {
			return false
		}
	}
	return p.parameter == "" || p.parameter == o.parameter
}

func (p places) has(s *policy.TokenSource) bool {
	return slices.ContainsFunc(p.sources, func(o policy.TokenSource) bool {
		o.Remove = s.Remove
		return o == *s || s.Authorization != "" && strings.EqualFold(o.Authorization, s.Authorization)
	})
}

// in returns the places in a header.
func (p places) in(header string) (all []policy.TokenSource) {
	for _, s := range p.sources {
		if s.In() == header {
			all = append(all, s)
		}
	}
	return all
}

// place is one place of a token. The zero place is one that nobody looks at.
type place struct {
	source    policy.TokenSource
	parameter string
}

// parsePlace reads a place as a flag or a test names it, as cookie=session.
func parsePlace(text string) (at place, err error) {
	kind, name, _ := strings.Cut(text, "=")
	switch kind {
	case "authorization":
		at.source.Authorization = name
	case "header":
		at.source.Header = name
	case "cookie":
		at.source.Cookie = name
	case "websocket":
		at.source.WebSocket = name
	case "query":
		at.parameter = name
	}
	if at.parameter == "" {
		err = at.source.Validate()
	}
	if err != nil {
		return place{}, fmt.Errorf("expected a place as authorization=Bearer, header=x-token, "+
			"cookie=session, websocket=token. or query=access_token, got %q", text)
	}
	return at, nil
}

// first returns a place in which a token is found.
func (p places) first() place { return place{source: p.sources[0]} }

// put returns the question with a token there.
func (p place) put(q *adminapi.Question, token string) *adminapi.Question {
	asked := *q
	switch {
	case p.parameter != "":
		between := "?"
		if strings.Contains(q.Path, "?") {
			between = "&"
		}
		asked.Path += between + p.parameter + "=" + token
	case p.source != policy.TokenSource{}:
		asked.Headers = append(slices.Clone(q.Headers),
			adminapi.Header{Name: p.source.In(), Value: p.source.Carry(token)})
	}
	return &asked
}

// whereStood returns the place of a token by what a line says of it: a header, or that it was the
// query. Which cookie, parameter or scheme that was, is for the configuration to say that has
// decided. lacks is what keeps it from being known.
func whereStood(from string, before, now places) (at place, lacks string) {
	if from == "query" {
		switch {
		case now.parameter == "":
			return place{}, ""
		case before.parameter == "":
			return place{}, "the line does not say in which parameter the token stood" + sayBefore
		}
		return place{parameter: before.parameter}, ""
	}
	looked := now.in(from)
	switch was := before.in(from); {
	case len(looked) == 0:
		return place{}, ""
	case looked[0].Header != "": // its name is all there is to it
		return place{source: looked[0]}, ""
	case len(was) == 1, len(was) > 1 && !slices.ContainsFunc(was,
		func(s policy.TokenSource) bool { return !now.has(&s) }):
		return place{source: was[0]}, ""
	}
	return place{}, "the line does not say where in " + from + " the token stood" + sayBefore
}

const sayBefore = ": give the configuration that has decided with --before"
