import { type Injection, type InjectionRequest, injectPod } from './inject-pod.ts';
import type { Pod } from './pod.ts';

type Manifest = Readonly<Record<string, unknown>>;

export interface InjectedManifest {
  /** The manifest itself where there was nothing to inject. */
  readonly manifest: unknown;
  /** One sentence each, with the object that it is about. */
  readonly warnings: readonly string[];
  readonly errors: readonly string[];
}

// Where the pod stands in each kind that makes pods.
const POD_PATHS: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

/** Takes the pods of one manifest into the mesh (a `List` item by item), as the webhook would when they are created. Pure; never throws. */
export function injectManifest(manifest: unknown, request: Omit<InjectionRequest, 'pod' | 'workload'>): InjectedManifest {
  if (!isRecord(manifest)) return { manifest, warnings: [], errors: [] };
  if (Array.isArray(manifest['items']) && typeof manifest['kind'] === 'string' && manifest['kind'].endsWith('List')) {
    const items = manifest['items'].map((item: unknown) => injectManifest(item, request));
    return {
      manifest: { ...manifest, items: items.map((item) => item.manifest) },
      warnings: items.flatMap(({ warnings }) => warnings),
      errors: items.flatMap(({ errors }) => errors),
    };
  }
  const kind = String(manifest['kind']);
  const path = Object.hasOwn(POD_PATHS, kind) ? POD_PATHS[kind] : undefined;
  const pod = path && at(manifest, path);
  if (!path || !isRecord(pod)) return { manifest, warnings: [], errors: [] };
  return injectAt(manifest, path, { ...request, pod });
}

function injectAt(manifest: Manifest, path: readonly string[], request: InjectionRequest): InjectedManifest {
  const metadata = (manifest['metadata'] ?? {}) as { readonly name?: string; readonly namespace?: string };
  const namespace = metadata.namespace ?? request.namespace;
  const about = `${manifest['kind']} ${namespace}/${metadata.name ?? ''}`;
  const workload = {
    apiVersion: String(manifest['apiVersion'] ?? 'v1'),
    kind: String(manifest['kind']),
    name: metadata.name ?? '',
    namespace,
  };
  const injection: Injection = injectPod({ ...request, namespace, ...(path.length > 0 && { workload }) });
  switch (injection.outcome) {
    case 'injected':
      return {
        manifest: withAt(manifest, path, injection.pod),
        warnings: injection.warnings.map((text) => `${about}: ${text}`),
        errors: [],
      };
    case 'skipped':
      return { manifest, warnings: injection.warnings.map((text) => `${about}: ${text}`), errors: [] };
    case 'refused':
      return { manifest, warnings: [], errors: [`${about}: ${injection.message}`] };
  }
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isRecord(inner) ? inner[name] : undefined), value);
}

function withAt(manifest: Manifest, [name, ...rest]: readonly string[], pod: Pod): Manifest {
  if (name === undefined) return pod;
  return { ...manifest, [name]: withAt((manifest[name] ?? {}) as Manifest, rest, pod) };
}

function isRecord(value: unknown): value is Manifest {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
