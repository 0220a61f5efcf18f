// Package tools checks what a user starts Sallyport with: docker-compose.yaml, deploy/config and
// k8s/. Its tests read those files with the parsers that Compose, kustomize, Kubernetes, Envoy,
// Prometheus and our own daemons read them with. It is a module of its own, so that none of those
// parsers become a dependency of Sallyport.
package tools
