import { type Clock, CloseStack, type Logger, type Running, Watchable } from '@mizzen/core';
import { createReflector, KINDS_OF_KUBERNETES, type KubeClient, type Reflector } from '@mizzen/kube';
import type { MeshConfig, Resource } from '@mizzen/mesh-api';
import { type ConvertedIngresses, convertIngresses, isServed } from './ingress-conversion.ts';
import { type KeptIngress, keepIngress, keepIngressController } from './ingress-objects.ts';
import type { KeptService } from './service.ts';

type Watched<T> = Pick<Watchable<T>, 'value' | 'watch' | 'until'>;

export interface IngressSourceOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly mesh: Pick<Watchable<{ readonly mesh: MeshConfig }>, 'value' | 'watch'>;
  readonly services: Pick<Watchable<ReadonlyMap<string, KeptService>>, 'value' | 'watch'>;
  /** DNS domain of the cluster. */
  readonly domain: string;
  /** Where the mesh's own gateways are. */
  readonly namespace: string;
}

/** What an Ingress that the mesh serves should say of where it is reached. */
export interface IngressStatus {
  readonly namespace: string;
  readonly name: string;
  readonly loadBalancer: readonly { readonly ip?: string; readonly hostname?: string }[];
}

export interface IngressSource extends Running {
  /** Gateways and VirtualServices. Unchanged ones stay the same objects. */
  readonly converted: Watched<ConvertedIngresses>;
  /** Whoever leads writes these. */
  readonly statuses: Watched<readonly IngressStatus[]>;
  start(options?: { signal?: AbortSignal }): Promise<void>;
}

/** Ingresses and IngressClasses of the cluster as resources of the mesh. */
export function createIngressSource(options: IngressSourceOptions): IngressSource {
  const { client, clock, logger, mesh, services, domain, namespace } = options;
  const stack = new CloseStack();
  const converted = new Watchable<ConvertedIngresses>({ resources: [], diagnostics: [] });
  const statuses = new Watchable<readonly IngressStatus[]>([]);
  const ingresses: Reflector<KeptIngress> = createReflector({
    client,
    clock,
    logger,
    kind: KINDS_OF_KUBERNETES.Ingress,
    keep: keepIngress,
    isOptional: true,
  });
  const controllers: Reflector<string> = createReflector({
    client,
    clock,
    logger,
    kind: KINDS_OF_KUBERNETES.IngressClass,
    keep: keepIngressController,
    isOptional: true,
  });
  const update = (): void => {
    const about = { controllers: controllers.objects.value, mesh: mesh.value.mesh };
    const all = [...ingresses.objects.value.values()];
    const gatewayNamespace = about.mesh.rootNamespace ?? namespace;
    const next = convertIngresses({ ...about, ingresses: all, services: services.value, domain, gatewayNamespace });
    const resources = keepObjects(next.resources, converted.value.resources);
    if (resources !== converted.value.resources || JSON.stringify(next.diagnostics) !== JSON.stringify(converted.value.diagnostics))
      converted.set({ resources, diagnostics: next.diagnostics });
    const loadBalancer = loadBalancerOf(services.value.get(`${namespace}/${about.mesh.ingressService ?? 'istio-ingressgateway'}`));
    const served = all.filter((ingress) => isServed(ingress, about));
    const nextStatuses = served.map(({ namespace: of, name }) => ({ namespace: of, name, loadBalancer }));
    if (JSON.stringify(nextStatuses) !== JSON.stringify(statuses.value)) statuses.set(nextStatuses);
  };
  return {
    converted,
    statuses,
    async start({ signal } = {}) {
      for (const reflector of [stack.use(ingresses), stack.use(controllers)]) reflector.start();
      await Promise.all([ingresses, controllers].map(({ synced }) => synced.until((isSynced) => isSynced, signal && { signal })));
      update();
      for (const stop of [ingresses.objects.watch(update), controllers.objects.watch(update), mesh.watch(update), services.watch(update)])
        stack.defer(() => void stop());
    },
    close: () => stack.close(),
  };
}

/** The list before where nothing differs; otherwise the new one with the objects that did not change. */
function keepObjects(next: readonly Resource[], before: readonly Resource[]): readonly Resource[] {
  const known = new Map(before.map((resource) => [JSON.stringify(resource), resource]));
  const kept = next.map((resource) => known.get(JSON.stringify(resource)) ?? resource);
  return kept.length === before.length && kept.every((resource, index) => resource === before[index]) ? before : kept;
}

/**
 * Where the gateways' Service is reached from outside. Source: istio pilot/pkg/config/kube/ingress/status.go runningAddresses (1.32 dev).
 */
function loadBalancerOf(service: KeptService | undefined): IngressStatus['loadBalancer'] {
  if (!service) return [];
  if (service.type === 'ExternalName') return service.externalName === '' ? [] : [{ hostname: service.externalName }];
  const all = [...service.loadBalancer, ...service.externalIps.map((ip) => ({ ip }))];
  const text = ({ ip, hostname }: { ip?: string; hostname?: string }): string => `${ip ?? ''} ${hostname ?? ''}`;
  return all.sort((a, b) => (text(a) < text(b) ? -1 : 1));
}
