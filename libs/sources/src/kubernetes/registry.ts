import { type Clock, CloseStack, type Diagnostic, type Logger, Watchable } from '@mizzen/core';
import { createReflector, KINDS_OF_KUBERNETES, type KubeClient, type KubeKind, type KubeObject, type Reflector } from '@mizzen/kube';
import type { Service, Workload } from '@mizzen/model';
import type { Registry } from '../registry.ts';
import type { NamespaceFilter } from './discovery.ts';
import { type KeptSlice, keepSlice } from './endpoint-slice.ts';
import { keepNodeLocality } from './node-locality.ts';
import { type KeptPod, keepPod } from './pod.ts';
import { diagnoseServices, type KeptService, keepService, serviceFromKept } from './service.ts';
import { WorkloadBuilder } from './workloads.ts';

export interface KubernetesRegistryOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  /** DNS domain of the cluster. Default `cluster.local`. */
  readonly domain?: string;
  /** Namespaces that count; default all. */
  readonly isDiscovered?: Pick<Watchable<NamespaceFilter>, 'value' | 'watch'>;
  /** The mesh's configuration, followed. */
  readonly mesh: Pick<Watchable<{ readonly mesh: { readonly defaultServiceExportTo?: readonly string[] | undefined } }>, 'value' | 'watch'>;
}

export interface KubernetesRegistry extends Registry {
  /** Parts of Services that the mesh does not heed. */
  readonly diagnostics: Pick<Watchable<readonly Diagnostic[]>, 'value' | 'watch'>;
  /** Services as the cluster has them, for whoever needs more of them than the mesh does. */
  readonly keptServices: Pick<Watchable<ReadonlyMap<string, KeptService>>, 'value' | 'watch'>;
}

/** Services and workloads of a cluster: its Services, EndpointSlices, Pods, and the localities of its Nodes. */
export function createKubernetesRegistry(options: KubernetesRegistryOptions): KubernetesRegistry {
  return new ClusterRegistry(options);
}

class ClusterRegistry implements KubernetesRegistry {
  readonly name = 'kubernetes';
  readonly services = new Watchable<readonly Service[]>([]);
  readonly workloads = new Watchable<readonly Workload[]>([]);
  readonly diagnostics = new Watchable<readonly Diagnostic[]>([], (a, b) => JSON.stringify(a) === JSON.stringify(b));
  readonly #options: KubernetesRegistryOptions;
  readonly #domain: string;
  readonly #stack = new CloseStack();
  readonly #kept: Reflector<KeptService>;
  readonly #slices: Reflector<KeptSlice>;
  readonly #pods: Reflector<KeptPod>;
  readonly #localities: Reflector<string>;
  readonly #workloadBuilder = new WorkloadBuilder();
  #made = new Map<KeptService, Service>();
  #madeFor: readonly string[] | undefined;

  constructor(options: KubernetesRegistryOptions) {
    this.#options = options;
    this.#domain = options.domain ?? 'cluster.local';
    this.#kept = this.#reflect(KINDS_OF_KUBERNETES.Service, keepService);
    this.#slices = this.#reflect(KINDS_OF_KUBERNETES.EndpointSlice, keepSlice);
    this.#pods = this.#reflect(KINDS_OF_KUBERNETES.Pod, keepPod);
    this.#localities = this.#reflect(KINDS_OF_KUBERNETES.Node, keepNodeLocality);
  }

  get keptServices(): KubernetesRegistry['keptServices'] {
    return this.#kept.objects;
  }

  async start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    const reflectors = [this.#kept, this.#slices, this.#pods, this.#localities];
    for (const reflector of reflectors) {
      this.#stack.use(reflector);
      reflector.start();
    }
    await Promise.all(reflectors.map(({ synced }) => synced.until((isSynced) => isSynced, signal && { signal })));
    this.#updateServices();
    this.#updateWorkloads();
    const follow = <T>(watched: Pick<Watchable<T>, 'watch'>, update: () => void): void => this.#stack.defer(watched.watch(update));
    const updateBoth = (): void => {
      this.#updateServices();
      this.#updateWorkloads();
    };
    follow(this.#kept.objects, updateBoth);
    if (this.#options.isDiscovered) follow(this.#options.isDiscovered, updateBoth);
    follow(this.#options.mesh, () => this.#updateServices());
    follow(this.#slices.objects, () => this.#updateWorkloads());
    follow(this.#pods.objects, () => this.#updateWorkloads());
    follow(this.#localities.objects, () => this.#updateWorkloads());
  }

  close(): Promise<void> {
    return this.#stack.close();
  }

  #reflect<T>(kind: KubeKind, keep: (object: KubeObject) => T | undefined): Reflector<T> {
    const { client, clock, logger } = this.#options;
    return createReflector({ client, clock, logger, kind, keep });
  }

  #discovered<T>(objects: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
    const { isDiscovered } = this.#options;
    return isDiscovered ? discovered(objects, isDiscovered.value) : objects;
  }

  #updateServices(): void {
    const defaultExportTo = this.#options.mesh.value.mesh.defaultServiceExportTo;
    const before = JSON.stringify(defaultExportTo) === JSON.stringify(this.#madeFor) ? this.#made : new Map<KeptService, Service>();
    const context = { domain: this.#domain, defaultExportTo };
    this.#made = new Map(
      [...this.#discovered(this.#kept.objects.value).values()].map((kept) => [kept, before.get(kept) ?? serviceFromKept(kept, context)]),
    );
    this.#madeFor = defaultExportTo;
    this.diagnostics.set(diagnoseServices(this.#made.keys()));
    setIfChanged(this.services, [...this.#made.values()]);
  }

  #updateWorkloads(): void {
    const workloads = this.#workloadBuilder.build({
      domain: this.#domain,
      services: this.#discovered(this.#kept.objects.value),
      slices: this.#slices.objects.value,
      pods: this.#discovered(this.#pods.objects.value),
      localities: this.#localities.objects.value,
    });
    setIfChanged(this.workloads, workloads);
  }
}

function setIfChanged<T>(watchable: Watchable<readonly T[]>, list: readonly T[]): void {
  const { value } = watchable;
  const isSame = value.length === list.length && list.every((item, index) => value[index] === item);
  if (!isSame) watchable.set(list);
}

/** Of a map by `namespace/name`, what is discovered; the map itself where that is everything. */
function discovered<T>(objects: ReadonlyMap<string, T>, isDiscovered: NamespaceFilter): ReadonlyMap<string, T> {
  const entries = [...objects].filter(([key]) => isDiscovered(key.slice(0, key.indexOf('/'))));
  return entries.length === objects.size ? objects : new Map(entries);
}
