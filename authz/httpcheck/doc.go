// Package httpcheck is a gate that other proxies ask over HTTP: NGINX (auth_request), Traefik
// (ForwardAuth), Caddy (forward_auth), HAProxy (a Lua action) and Envoy (ext_authz with an HTTP
// service), in front of an authz.Engine.
//
// It promises:
//   - 200 and nothing else lets a request pass, and only once the engine has allowed it. An answer
//     that nobody filled in is a refusal.
//   - Only stated proxies are answered: by their network, by their certificate, or by their access
//     to the Unix socket. Others are refused, whatever they send.
//   - Method, host and path are each taken from one stated place, which the proxy writes. A request
//     that lacks one of them, or has it twice, is refused.
//   - A header by which a client says itself who it is never passes: the proxy removes it, or the
//     request is refused.
//   - What a stranger can send is bounded: header bytes and lines, connections, the time for a
//     header. A request with a body is refused without looking at it.
package httpcheck
