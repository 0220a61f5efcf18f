#!/usr/bin/env bash
# Says whether there is a Kubernetes cluster to ask, and kubectl to ask it with: any that KUBECONFIG leads to. Nothing is installed, and the
# test makes a namespace of its own there. DIR only takes a note of the version.
set -euo pipefail
dir=${1:?usage: kubernetes.sh DIR}
rm -rf "$dir"

command -v kubectl >/dev/null 2>&1 || { echo "setup: kubectl is missing: install it, or put it into PATH" >&2; exit 1; }
version=$(kubectl version -o json 2>/dev/null | sed -n '/"serverVersion"/,$s/.*"gitVersion": "\([^"]*\)".*/\1/p') || true
[ -n "$version" ] || { echo "setup: no Kubernetes cluster answers: set KUBECONFIG to one that you may make namespaces in (kind will do)" >&2; exit 1; }
mkdir -p "$dir"
echo "$version" >"$dir/version"
