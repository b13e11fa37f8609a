/** Any object of the Kubernetes API, as JSON. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** On every object of an installation; `mizzen uninstall` finds them by it. */
export const APP_LABELS = { 'app.kubernetes.io/part-of': 'mizzen', 'app.kubernetes.io/managed-by': 'mizzen' } as const;

/** Whose object it is where several revisions are installed; objects that all of them share have none. */
export const REVISION_LABEL = 'istio.io/rev';
