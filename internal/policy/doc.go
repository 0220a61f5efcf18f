// Package policy decides which rule a request falls under: routes by path, method and host, the
// first match wins, and what no route names is for nobody.
//
// It promises:
//   - Deny is the default: the zero Access is Nobody, and the rule behind the last route is always
//     Nobody.
//   - One spelling of a path: what is matched is the part before `?`, percent-decoded once. A path
//     that two servers may read differently (encoded slashes and dots that make segments, empty
//     segments, double encoding, control characters, fragments, path parameters unless the route
//     permits them) falls under no route at all.
//   - Another case is no way around a rule: a request that would fall under a stricter route if it
//     were spelt in that route's case is refused, unless the policy says that upstreams tell paths
//     apart by case.
//   - Names are literal. `*` stands for exactly one segment, `**` for the rest of the path, and
//     only as segments of their own; `*.` in front of a host stands for one or more labels.
//     Nothing is a regular expression, nothing matches by prefix of a name.
//   - Everything is checked and compiled at load: matching takes no lock, allocates nothing for
//     ordinary paths and takes time bounded by the path and the policy, whatever a client sends.
package policy
