#!/usr/bin/env bash
# Builds the image, brings k8s/overlays/test up on a cluster, walks a token's whole life through it, and takes it down.
# It needs a cluster (KUBECONFIG), a docker daemon to build with (DOCKER_HOST), and a way to bring images into the cluster:
# known for kind and minikube, else SALLYPORT_LOAD, a command that takes images' names.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need curl curl; need openssl openssl
use_docker; use_cluster

image=sallyport:test
secrets=$(mktemp -d)
forward=
cd "$root"
! kubectl get namespace sallyport >/dev/null 2>&1 || die "the cluster has a namespace sallyport already: this test makes and deletes it"

finish() {
    status=$?
    trap - EXIT
    [ -z "$forward" ] || kill "$forward" 2>/dev/null || :
    if [ $status -ne 0 ]; then
        kubectl -n sallyport get pods -o wide >&2 || :
        kubectl -n sallyport get events --sort-by=.lastTimestamp 2>&1 | tail -30 >&2 || :
        for name in issuer authz redis envoy upstream; do
            echo "--- $name" >&2
            kubectl -n sallyport logs -l "app.kubernetes.io/name=$name" --tail 20 --prefix >&2 2>&1 || :
        done
    fi
    kubectl delete namespace sallyport --ignore-not-found --timeout=120s >/dev/null || { say "could not delete the namespace"; status=1; }
    rm -rf "$secrets"
    exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

build_image $image
docker image inspect redis:8-alpine >/dev/null 2>&1 || docker pull -q redis:8-alpine
docker image inspect envoyproxy/envoy:v1.40.0 >/dev/null 2>&1 || docker pull -q envoyproxy/envoy:v1.40.0
"${load[@]}" $image redis:8-alpine envoyproxy/envoy:v1.40.0 >&2

kubectl apply -f k8s/base/namespace.yaml >&2
SALLYPORT='' SALLYPORT_IMAGE=$image deploy/secrets.sh --kubernetes "$secrets" 2>"$secrets/said" | kubectl apply -f - >&2 ||
    { cat "$secrets/said" >&2; die "deploy/secrets.sh failed"; }
password=$(sed -n 's/.*user alice, password \([^ ]*\).*/\1/p' "$secrets/said")
# Nothing that Pod Security restricted, or a field that this cluster does not know, would warn about.
warnings=$(kubectl apply --validate=strict -k k8s/overlays/test 2>&1 >/dev/null) || { echo "$warnings" >&2; die "kubectl apply failed"; }
[ -z "$warnings" ] || { echo "$warnings" >&2; die "the cluster warns about k8s/overlays/test"; }

for name in statefulset/redis deployment/issuer deployment/authz deployment/upstream deployment/envoy; do
    kubectl -n sallyport rollout status --timeout=120s $name >&2
done

kubectl -n sallyport port-forward service/gateway :80 >"$secrets/forward" 2>&1 &
forward=$!
deadline=$((SECONDS + 20))
until address=$(sed -n 's/^Forwarding from \(127[^ ]*\).*/\1/p' "$secrets/forward") && [ -n "$address" ]; do
    [ $SECONDS -lt $deadline ] || { cat "$secrets/forward" >&2; die "no port was forwarded to the gateway"; }
    sleep 0.1
done
deploy/walk.sh "http://$address" <<<"$password"

say "a gate is killed; the other one serves"
kubectl -n sallyport delete pod --wait=false --grace-period=0 --force "$(kubectl -n sallyport get pod -l app.kubernetes.io/name=authz -o name | sed -n '1s,.*/,,p')" >/dev/null 2>&1
deploy/walk.sh "http://$address" <<<"$password"
say "passed"
