import { type Clock, CloseStack, type Logger, type Running, Watchable } from '@mizzen/core';
import { createReflector, KINDS_OF_KUBERNETES, type KubeClient } from '@mizzen/kube';

type Labels = Readonly<Record<string, string>>;
type Watched<T> = Pick<Watchable<T>, 'value' | 'watch'>;

/** Whether what is in a namespace counts. */
export type NamespaceFilter = (namespace: string) => boolean;

export interface Discovery extends Running {
  /** A new function with every change of what is discovered. */
  readonly isDiscovered: Watched<NamespaceFilter>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}

export interface DiscoveryOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly mesh: Watched<{
    readonly mesh: { readonly discoverySelectors?: readonly unknown[]; readonly rootNamespace?: string | undefined };
  }>;
}

const EVERYWHERE: NamespaceFilter = () => true;

/**
 * The namespaces that `discoverySelectors` of the mesh's configuration select, by their labels: all where there is none; the root namespace
 * always. Source: istio pkg/kube/namespace/filter.go (1.32 dev).
 */
export function createDiscovery({ client, clock, logger, mesh }: DiscoveryOptions): Discovery {
  const stack = new CloseStack();
  const isDiscovered = new Watchable<NamespaceFilter>(EVERYWHERE);
  const namespaces = createReflector<Labels>({
    client,
    clock,
    logger,
    kind: KINDS_OF_KUBERNETES.Namespace,
    keep: ({ metadata }) => metadata.labels ?? {},
  });
  let selected = '';
  const update = (): void => {
    const { discoverySelectors = [], rootNamespace } = mesh.value.mesh;
    if (discoverySelectors.length === 0) {
      selected = '';
      isDiscovered.set(EVERYWHERE);
      return;
    }
    const names = [...namespaces.objects.value]
      .filter(([name, labels]) => name === rootNamespace || discoverySelectors.some((selector) => fitsSelector(selector, labels)))
      .map(([name]) => name)
      .sort();
    if (names.join() === selected && isDiscovered.value !== EVERYWHERE) return;
    selected = names.join();
    const known = new Set(names);
    isDiscovered.set((namespace) => known.has(namespace));
  };
  return {
    isDiscovered,
    async start({ signal } = {}) {
      stack.use(namespaces).start();
      await namespaces.synced.until((isSynced) => isSynced, signal && { signal });
      update();
      for (const stop of [namespaces.objects.watch(update), mesh.watch(update)]) stack.defer(() => void stop());
    },
    close: () => stack.close(),
  };
}

interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[];
}

/** Source: kubernetes.io, Labels and Selectors. What is no selector selects nothing. */
export function fitsSelector(selector: unknown, labels: Labels): boolean {
  if (typeof selector !== 'object' || selector === null) return false;
  const { matchLabels = {}, matchExpressions = [] } = selector as LabelSelector;
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      switch (operator) {
        case 'In':
          return values.includes(labels[key] ?? '');
        case 'NotIn':
          return !(key in labels) || !values.includes(labels[key] ?? '');
        case 'Exists':
          return key in labels;
        case 'DoesNotExist':
          return !(key in labels);
        default:
          return false;
      }
    })
  );
}
