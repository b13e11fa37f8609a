import { errorMessage, MizzenError, type Running, type Watchable } from '@mizzen/core';
import { createReconciler, isConflict, isNotFound, type KubeObject } from '@mizzen/kube';
import { isKind, type Kind, kubeKindOf } from '@mizzen/mesh-api';
import { type ConfiguredResource, generationOf } from '../resource-status.ts';
import type { ControllerContext } from './controllers.ts';
import { type IstioStatus, isSameStatus, istioStatusOf } from './istio-status.ts';

type Status = Readonly<Record<string, unknown>> | undefined;

// Proxies answer in bursts: what they say within this time is one write. Source: Istio's status writer reports every 500 ms.
const DEBOUNCE_MS = 500;
const WRITES_AT_ONCE = 4;

/** What the writer is told from. */
export interface StatusSource {
  /** The resources with their status, as of now. */
  resources(): readonly ConfiguredResource[];
  /** Change whenever `resources` may answer something else. */
  readonly changes: readonly Pick<Watchable<unknown>, 'watch'>[];
}

/** Writes what became of each resource into its status, and only where it says something new. */
export function runResourceStatusWriter(source: StatusSource, context: ControllerContext): Running {
  const { client, clock, logger } = context;
  /** The status that stands in the API, as far as it was read or written by us. */
  let written = new Map<string, Status>();
  /** Resources that are no objects: workloads that registered themselves, and what is made of an Ingress. */
  const notStored = new WeakSet<ConfiguredResource['metadata']>();

  const update = async (resource: ConfiguredResource, key: string): Promise<void> => {
    const kind = kubeKindOf(resource.kind as Kind);
    const name = { namespace: resource.metadata.namespace, name: resource.metadata.name };
    const wanted = (before: Status): IstioStatus =>
      istioStatusOf(resource.status, { generation: generationOf(resource), before, now: clock.now() });
    if (written.has(key) && isSameStatus(written.get(key), wanted(written.get(key)))) return;
    const object = await client.find<KubeObject>(kind, name);
    if (!object) {
      notStored.add(resource.metadata);
      return void written.delete(key);
    }
    const before = object['status'] as Status;
    const status = wanted(before);
    if (!isSameStatus(before, status)) {
      const { resourceVersion } = object.metadata;
      await client.patch<KubeObject>(kind, name, { metadata: { resourceVersion }, status }, { subresource: 'status' });
    }
    written.set(key, { ...status });
  };
  const reconcile = async ({ signal }: { signal: AbortSignal }): Promise<void> => {
    const resources = new Map(
      source
        .resources()
        .filter(({ kind, spec, metadata }) => isKind(kind) && spec !== undefined && !notStored.has(metadata))
        .map((resource) => [`${resource.kind}/${resource.metadata.namespace}/${resource.metadata.name}`, resource]),
    );
    written = new Map([...written].filter(([key]) => resources.has(key)));
    const left = [...resources];
    const failures = new Set<string>();
    const worker = async (): Promise<void> => {
      for (let next = left.pop(); next && !signal.aborted; next = left.pop()) {
        const [key, resource] = next;
        await update(resource, key).catch((thrown: unknown) => {
          written.delete(key);
          if (isNotFound(thrown)) return;
          failures.add(isConflict(thrown) ? 'a resource was changed at the same time' : errorMessage(thrown));
        });
      }
    };
    await Promise.all(Array.from({ length: WRITES_AT_ONCE }, worker));
    if (failures.size > 0) throw new MizzenError('MIZZEN_KUBERNETES', [...failures].join('; '));
  };

  const reconciler = createReconciler({
    ...context,
    reconcile,
    dependsOn: source.changes,
    debounceMs: DEBOUNCE_MS,
    failure: 'the status of resources is not written',
  });
  reconciler.trigger();
  logger.debug('status of resources is written');
  return reconciler;
}
