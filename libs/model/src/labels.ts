export type Labels = Readonly<Record<string, string>>;

/** Every label of the selector is there with its value. An empty or absent selector selects everything. */
export function selects(selector: Labels | undefined, labels: Labels): boolean {
  if (selector === undefined) return true;
  for (const key in selector) if (labels[key] !== selector[key]) return false;
  return true;
}

/** Names the service that a workload belongs to in telemetry. Source: istio pkg/kube/labels/labels.go CanonicalService (1.32 dev). */
export function canonicalService(labels: Labels, workloadName: string): string {
  return labels['service.istio.io/canonical-name'] ?? labels['app.kubernetes.io/name'] ?? labels['app'] ?? workloadName;
}

/** Source: istio pkg/kube/labels/labels.go CanonicalServiceRevision (1.32 dev). */
export function canonicalRevision(labels: Labels): string {
  return labels['service.istio.io/canonical-revision'] ?? labels['app.kubernetes.io/version'] ?? labels['version'] ?? 'latest';
}

/** Equal label sets give equal texts. */
export function labelsKey(labels: Labels | undefined): string {
  if (labels === undefined) return '';
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
