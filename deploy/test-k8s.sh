#!/usr/bin/env bash
# Builds the image, brings k8s/overlays/test up on a cluster, walks a token's whole life through it, restarts Redis, issuers and
# gates, disables a user, changes the policy, and takes it all down. It needs a cluster (KUBECONFIG), a docker daemon to build with
# (DOCKER_HOST), and a way to bring images into the cluster: known for kind and minikube, else SALLYPORT_LOAD, a command that takes
# images' names. A cluster without a StorageClass has to be one node that sees this machine's /tmp: Redis' volume is made there.
# With --in-process it does the same with k8s/overlays/in-process and the image of Envoy with the gate inside.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/client.sh"
. "$(dirname "$0")/life.sh"
need curl curl; need openssl openssl
use_docker; use_cluster

image=sallyport:test
work=$(mktemp -d)
secrets=$work/secrets
forward=() volume=
cd "$root"
! kubectl get namespace sallyport >/dev/null 2>&1 || die "the cluster has a namespace sallyport already: this test makes and deletes it"

finish() {
    status=$?
    trap - EXIT
    [ ${#forward[@]} -eq 0 ] || kill "${forward[@]}" 2>/dev/null || :
    if [ $status -ne 0 ]; then
        kubectl -n sallyport get pods -o wide >&2 || :
        kubectl -n sallyport get events --sort-by=.lastTimestamp 2>&1 | tail -30 >&2 || :
        for name in issuer authz redis envoy upstream; do
            echo "--- $name" >&2
            kubectl -n sallyport logs -l "app.kubernetes.io/name=$name" --tail 20 --prefix >&2 2>&1 || :
        done
    fi
    kubectl delete namespace sallyport --ignore-not-found --timeout=120s >/dev/null || { say "could not delete the namespace"; status=1; }
    [ -z "$volume" ] || kubectl delete persistentvolume "$volume" --timeout=60s >/dev/null || { say "could not delete the volume"; status=1; }
    rm -rf "$work" "$body" "$sent"
    exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

build_image $image
envoy=$(sed -n 's/.*image: \(envoyproxy.*\)/\1/p' k8s/base/envoy.yaml) redis=$(sed -n 's/.*image: \(redis.*\)/\1/p' k8s/base/redis.yaml)
for base in "$redis" "$envoy"; do docker image inspect "$base" >/dev/null 2>&1 || docker pull -q "$base"; done
if [ -n "$in_process" ]; then
    envoy=sallyport-envoy:test
    build_image --in-process $envoy
fi
"${load[@]}" $image "$redis" "$envoy" >&2

# The program itself, for the operator's side of things: it needs nothing but Linux.
container=$(docker create $image)
docker cp -q "$container:/usr/local/bin/sallyport" "$work/sallyport" && docker rm "$container" >/dev/null

kubectl apply -f k8s/base/namespace.yaml >&2
apply_secrets() { SALLYPORT=$work/sallyport deploy/secrets.sh --kubernetes "$secrets" 2>>"$work/said" | kubectl apply -f - >&2; }
apply_secrets || { cat "$work/said" >&2; die "deploy/secrets.sh failed"; }
alice=$(password alice "$work/said")
bob=$(password bob "$work/said")

if [ -z "$(kubectl get storageclass -o name)" ]; then
    volume=sallyport-test-redis
    mkdir "$work/volume"
    chmod 0711 "$work" # the node's own check of the path
    kubectl apply -f - >&2 <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: $volume}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: sallyport, name: data-redis-0}
  local: {path: $work/volume}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]
END
fi

# An overlay as an installation has one, over copies of the files, which the test changes.
mkdir -p "$work/deploy" "$work/k8s/overlays/mine"
cp -r deploy/config "$work/deploy/config"
cp -r k8s/base "$work/k8s/base"
cp -r k8s/overlays/test k8s/overlays/in-process "$work/k8s/overlays"
[ -z "$in_process" ] || sed -i 's,\.\./\.\./base,../in-process,' "$work/k8s/overlays/test/kustomization.yaml"
envoys() { kubectl -n sallyport get pods -l app.kubernetes.io/name=envoy -o jsonpath='{range .items[*]}{.status.podIP}{"\n"}{end}'; }
# believe NETWORK: the overlay, with the network that Envoys' pods get their addresses from.
believe() {
    cat >"$work/k8s/overlays/mine/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../test]
images: [{name: sallyport-envoy, newTag: test}]
patches:
  - patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: issuer, namespace: sallyport}
      spec:
        template:
          spec:
            containers:
              - name: issuer
                env: [{name: SALLYPORT_HTTP_TRUSTED_PROXIES, value: "$1"}]
END
}
rolled_out() {
    local name
    for name in statefulset/redis deployment/issuer "deployment/$gate" deployment/upstream deployment/envoy; do
        kubectl -n sallyport rollout status --timeout=180s $name >&2
    done
}
# Nothing that Pod Security restricted, or a field that this cluster does not know, would warn about.
apply() {
    local warnings
    warnings=$(kubectl apply --validate=strict -k "$work/k8s/overlays/mine" 2>&1 >/dev/null) || { echo "$warnings" >&2; die "kubectl apply failed"; }
    [ -z "$warnings" ] || { echo "$warnings" >&2; die "the cluster warns about k8s/overlays/test"; }
    rolled_out
}
network=$(kubectl get nodes -o jsonpath='{range .items[*]}{.spec.podCIDR}{"\n"}{end}' | sort -u | paste -sd, -)
if [ -n "$network" ]; then
    believe "$network"
    apply
else # not every cluster says it there: their first two numbers
    believe 127.0.0.1/32
    apply
    network=$(envoys)
    network=$(sed -E 's/^([0-9]+\.[0-9]+)\..*/\1.0.0\/16/;q' <<<"$network")
    say "the nodes have no spec.podCIDR; Envoys are in $network"
    believe "$network"
    apply
fi

# port_of WHAT PORT: a port of this machine that leads there, in $address, for as long as the test runs.
port_of() {
    local deadline=$((SECONDS + 20)) said=$work/forward-${#forward[@]}
    kubectl -n sallyport port-forward "$1" ":$2" >"$said" 2>&1 &
    forward+=($!)
    until address=$(sed -n 's/^Forwarding from \(127[^ ]*\).*/\1/p' "$said") && [ -n "$address" ]; do
        [ $SECONDS -lt $deadline ] || { cat "$said" >&2; die "no port was forwarded to $1"; }
        sleep 0.1
    done
}
port_of service/gateway 80
gateway=http://$address
deploy/walk.sh "$gateway" <<<"$alice"

if [ -z "$in_process" ]; then
    say "a gate is killed; the other one serves"
    kubectl -n sallyport delete pod --wait=false --grace-period=0 --force "$(kubectl -n sallyport get pod -l app.kubernetes.io/name=authz -o name | sed -n '1s,.*/,,p')" >/dev/null 2>&1
    deploy/walk.sh "$gateway" <<<"$alice"
fi

# Not through the forwarded port, whose client is on Envoy's own loopback: for 127.0.0.1 Envoy writes its own address.
node=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
direct=http://$node:$(kubectl -n sallyport get service gateway -o jsonpath='{.spec.ports[0].nodePort}')
say "and through the node's port, $direct, where clients have addresses"
deploy/walk.sh "$direct" <<<"$alice"
addresses=$(kubectl -n sallyport logs -l app.kubernetes.io/name=issuer --tail -1 | sed -n 's/.*"event":"login".*"address":"\([^"]*\)".*/\1/p' | sort -u)
others=$(grep -vxF -f <(envoys) <<<"$addresses" || :)
[ -n "$others" ] || die "logins are held against Envoy, not against the client: ${addresses:-no address in the audit lines}"

redis_again() { kubectl -n sallyport delete pod redis-0 && rolled_out; }
daemons_again() { kubectl -n sallyport rollout restart deployment/issuer "deployment/$gate" && rolled_out; }
# Nobody but Redis' file remembers.
cold() {
    kubectl -n sallyport scale --replicas=0 deployment/issuer "deployment/$gate"
    kubectl -n sallyport wait --for=delete pod -l "app.kubernetes.io/name in (issuer, $gate)" --timeout=120s
    kubectl -n sallyport delete pod redis-0
    kubectl -n sallyport scale --replicas=2 deployment/issuer "deployment/$gate"
    rolled_out
}
disable() {
    port_of deployment/issuer 9101
    "$work/sallyport" users disable "$1" --file "$secrets/issuer/users.yaml" --now --wait 10s \
        --issuer-admin "http://$address" --token-file "$secrets/issuer/admin_token"
    apply_secrets
}
require_role() {
    local before
    before=$(envoys)
    asks_for "$1" "$work/deploy/config/authz.yaml"
    apply
    [ "$before" = "$(envoys)" ] || die "a changed policy has had Envoys rolled over"
}
status() {
    port_of deployment/issuer 9101
    "$work/sallyport" status --issuer-admin "http://$address" --token-file "$secrets/issuer/admin_token" "$@"
}
if [ -n "$in_process" ]; then
    # The forwarded port ends with its pod.
    gateway=$direct
    say "Envoys are rolled over, whose gates leave the log first"
    former=$(kubectl -n sallyport get pods -l app.kubernetes.io/name=envoy -o name)
    kubectl -n sallyport rollout restart deployment/envoy >&2
    rolled_out
    for pod in $former; do
        kubectl -n sallyport wait --for=delete "$pod" --timeout=60s >&2
        status >"$work/status"
        grep -q "^gate  *${pod#*/}  *left " "$work/status" || { cat "$work/status" >&2; die "the gate in ${pod#*/} has ended without a word"; }
    done
fi

survive "the pod of Redis is deleted" redis_again
survive "issuers and gates are rolled over" daemons_again
survive "issuers, gates and Redis are all away at once" cold
disabled_user 150
changed_policy
status --ignore-gone >&2
say "passed"
