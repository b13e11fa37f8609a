#!/usr/bin/env bash
# Takes Bookinfo and its networking files out of a namespace: cleanup.sh [NAMESPACE], default `default`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
namespace=${1:-default}
# Kinds that the cluster does not know (cert-manager, Istio's once the mesh is gone) have nothing to delete.
for file in "$here"/../networking/*.yaml "$here"/*.yaml; do
  kubectl delete --namespace "$namespace" --ignore-not-found -f "$file" 2>&1 | grep -v 'no matches for kind\|ensure CRDs are installed\|does not match the namespace' || true
done
