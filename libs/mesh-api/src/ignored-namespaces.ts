/** Namespaces whose pods are never part of a mesh. Source: istio pkg/kube/inject/inject.go IgnoredNamespaces (1.32 dev). */
export const IGNORED_NAMESPACES: ReadonlySet<string> = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']);
