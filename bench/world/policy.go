package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ChangePolicy puts another policy in force at a gate, which judges what is sent here as before,
// and returns when it is.
func (w *World) ChangePolicy(ctx context.Context, s *Server) error {
	settings, err := readSettings(s.Config)
	if err != nil {
		return err
	}
	policy, ok := settings["policy"].(map[string]any)
	if !ok {
		return errors.New("world: expected a policy in " + s.Config)
	}
	if all := routes(); len(policy["routes"].([]any)) == len(all) {
		policy["routes"] = append(all, map[string]any{
			"match": map[string]any{"path": "/added/**"}, "allow": "nobody",
		})
	} else {
		policy["routes"] = all
	}
	before, err := policyInForce(ctx, s)
	if err != nil {
		return err
	}
	if err := writeSettings(s.Config, settings); err != nil {
		return err
	}
	if err := s.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second,
		errors.New("world: the policy was not in force in 10 s"))
	defer cancel()
	for {
		now, err := policyInForce(ctx, s)
		if err == nil && now != before {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func policyInForce(ctx context.Context, s *Server) (string, error) {
	text, err := get(ctx, "http://"+s.Admin+"/readyz")
	if err != nil {
		return "", err
	}
	var said struct {
		InForce map[string]string `json:"in_force"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil || said.InForce["policy"] == "" {
		return "", fmt.Errorf("world: expected a gate's readiness with its policy, got %q", text)
	}
	return said.InForce["policy"], nil
}
