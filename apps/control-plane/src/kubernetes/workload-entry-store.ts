import { type Clock, errorMessage, type Logger, MizzenError, type Random, type Timer, Watchable } from '@mizzen/core';
import { createReconciler, isConflict, isNotFound, type KubeClient, type KubeObject, type Reconciler } from '@mizzen/kube';
import type { Resource } from '@mizzen/mesh-api';
import { AUTO_REGISTRATION_GROUP_ANNOTATION } from '@mizzen/model';
import type { RegisteredWorkloads } from '../auto-registration.ts';
import type { StatusCondition } from './istio-status.ts';
import {
  CONNECTED_ANNOTATION,
  CONTROLLER_ANNOTATION,
  DISCONNECTED_ANNOTATION,
  deleteEntryAsRead,
  WORKLOAD_ENTRY,
  WORKLOAD_GROUP,
} from './workload-entry-object.ts';

type WorkloadEntry = Resource<'WorkloadEntry'>;

/** What should be in the API for one instance. */
type Wish =
  | { readonly kind: 'present'; readonly entry: WorkloadEntry }
  | { readonly kind: 'gone'; readonly entry: WorkloadEntry; readonly disconnectedAt: number; readonly deleteAt: number };

interface GroupObject extends KubeObject {
  readonly spec?: { readonly probe?: unknown };
}

// Source: istio pilot/pkg/autoregistration/internal/health (1.32): the condition of a WorkloadEntry whose group has a probe.
const HEALTHY = 'Healthy';

export interface WorkloadEntryStoreOptions {
  readonly client: KubeClient;
  /** This control plane, as the owner of what it writes. */
  readonly podName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * Writes the WorkloadEntries of the agents that are connected here into the API, from where every control plane reads them. An agent that
 * left this control plane for another keeps its entry. Source: istio pilot/pkg/autoregistration/controller.go (1.32).
 */
export function createWorkloadEntryStore(options: WorkloadEntryStoreOptions): RegisteredWorkloads {
  return new WorkloadEntryStore(options);
}

class WorkloadEntryStore implements RegisteredWorkloads {
  readonly entries = new Watchable<readonly WorkloadEntry[]>([]);
  readonly #options: WorkloadEntryStoreOptions;
  readonly #reconciler: Reconciler;
  readonly #wishes = new Map<string, Wish>();
  /** Wishes that are not in the API yet. */
  readonly #open = new Set<string>();
  /** When the next entry's grace is over. */
  #graceEnds: Timer | undefined;

  constructor(options: WorkloadEntryStoreOptions) {
    this.#options = options;
    const failure = 'the WorkloadEntries of connected agents are not written';
    this.#reconciler = createReconciler({ ...options, reconcile: () => this.#reconcile(), failure });
  }

  add(entry: WorkloadEntry): void {
    const key = keyOf(entry.metadata);
    const before = this.#wishes.get(key);
    if (before?.kind === 'present' && isSame(before.entry, entry)) return;
    this.#wish(key, { kind: 'present', entry });
  }

  remove(ref: { namespace: string; name: string }, { afterMs = 0 }: { afterMs?: number } = {}): void {
    const before = this.#wishes.get(keyOf(ref));
    if (before?.kind !== 'present') return;
    const now = this.#options.clock.now();
    this.#wish(keyOf(ref), { kind: 'gone', entry: before.entry, disconnectedAt: now, deleteAt: now + afterMs });
  }

  close(): void {
    this.#graceEnds?.cancel();
    void this.#reconciler.close();
  }

  #wish(key: string, next: Wish): void {
    this.#wishes.set(key, next);
    this.#open.add(key);
    this.#reconciler.trigger();
  }

  async #reconcile(): Promise<void> {
    const { clock } = this.#options;
    const failures = new Set<string>();
    let nextAt = Infinity;
    for (const key of [...this.#open]) {
      try {
        nextAt = Math.min(nextAt, await this.#fulfil(key));
      } catch (thrown) {
        failures.add(isConflict(thrown) ? 'an entry was changed at the same time' : errorMessage(thrown));
      }
    }
    this.#graceEnds?.cancel();
    if (nextAt < Infinity) this.#graceEnds = clock.after(nextAt - clock.now(), () => this.#reconciler.trigger());
    if (failures.size > 0) throw new MizzenError('MIZZEN_KUBERNETES', [...failures].join('; '));
  }

  /** When to look at it again; Infinity where that needs no timer. */
  async #fulfil(key: string): Promise<number> {
    const wish = this.#wishes.get(key);
    if (!wish) return Infinity;
    const againAt = wish.kind === 'present' ? await this.#bePresent(wish.entry) : await this.#beGone(wish);
    // Another wish came meanwhile: it is open still.
    if (this.#wishes.get(key) !== wish) return Infinity;
    if (againAt !== undefined) return againAt;
    this.#open.delete(key);
    if (wish.kind === 'gone') this.#wishes.delete(key);
    return Infinity;
  }

  async #bePresent(entry: WorkloadEntry): Promise<undefined> {
    const { client } = this.#options;
    const present = await client.find<KubeObject>(WORKLOAD_ENTRY, entry.metadata);
    if (present && this.#isNewerElsewhere(present, entry)) return undefined;
    const group = await client.find<GroupObject>(WORKLOAD_GROUP, { name: groupNameOf(entry), namespace: entry.metadata.namespace });
    const wanted = this.#objectOf(entry, group);
    const { resourceVersion = '' } = present?.metadata ?? {};
    const written = present
      ? await client.replace(WORKLOAD_ENTRY, { ...wanted, metadata: { ...wanted.metadata, resourceVersion } })
      : await client.create(WORKLOAD_ENTRY, wanted);
    if (group?.spec?.probe) await this.#sayHealthy(written);
    return undefined;
  }

  /** There is an entry only while the probe of the group succeeds. */
  async #sayHealthy({ metadata, ...object }: KubeObject): Promise<void> {
    const { client, clock } = this.#options;
    const { conditions = [] } = (object['status'] ?? {}) as { conditions?: readonly StatusCondition[] };
    if (conditions.some(({ type, status }) => type === HEALTHY && status === 'True')) return;
    const healthy: StatusCondition = { type: HEALTHY, status: 'True', lastTransitionTime: new Date(clock.now()).toISOString() };
    const status = { conditions: [...conditions.filter(({ type }) => type !== HEALTHY), healthy] };
    const { resourceVersion } = metadata;
    await client.patch(WORKLOAD_ENTRY, metadata, { metadata: { resourceVersion }, status }, { subresource: 'status' });
  }

  /** Two streams of one agent may end and begin in any order, here and elsewhere: the later connection counts. */
  #isNewerElsewhere({ metadata }: KubeObject, entry: WorkloadEntry): boolean {
    const { [CONTROLLER_ANNOTATION]: controller, [CONNECTED_ANNOTATION]: connectedAt = '' } = metadata.annotations ?? {};
    return controller !== this.#options.podName && connectedAt > (entry.metadata.annotations[CONNECTED_ANNOTATION] ?? '');
  }

  /** First marked as disconnected, then deleted after the grace, unless another control plane took it over. */
  async #beGone({ entry, disconnectedAt, deleteAt }: Wish & { kind: 'gone' }): Promise<number | undefined> {
    const { client, clock, podName } = this.#options;
    const present = await client.find<KubeObject>(WORKLOAD_ENTRY, entry.metadata);
    if (present?.metadata.annotations?.[CONTROLLER_ANNOTATION] !== podName) return undefined;
    if (clock.now() >= deleteAt) {
      await deleteEntryAsRead(client, present).catch((thrown: unknown) => {
        if (!isNotFound(thrown)) throw thrown;
      });
      return undefined;
    }
    const annotations = { [DISCONNECTED_ANNOTATION]: new Date(disconnectedAt).toISOString(), [CONNECTED_ANNOTATION]: null };
    await client.patch(WORKLOAD_ENTRY, entry.metadata, { metadata: { resourceVersion: present.metadata.resourceVersion, annotations } });
    return deleteAt;
  }

  #objectOf({ metadata, spec }: WorkloadEntry, group: GroupObject | undefined): KubeObject {
    const { name, namespace, labels, annotations } = metadata;
    const { uid, name: groupName = '' } = group?.metadata ?? {};
    const owner = { apiVersion: WORKLOAD_GROUP.apiVersion, kind: WORKLOAD_GROUP.kind, name: groupName };
    return {
      apiVersion: WORKLOAD_ENTRY.apiVersion,
      kind: WORKLOAD_ENTRY.kind,
      metadata: {
        name,
        namespace,
        labels,
        annotations: { ...annotations, [CONTROLLER_ANNOTATION]: this.#options.podName },
        // Entries go with their group.
        ...(uid !== undefined && { ownerReferences: [{ ...owner, uid }] }),
      },
      spec,
    };
  }
}

function groupNameOf({ metadata }: WorkloadEntry): string {
  return metadata.annotations[AUTO_REGISTRATION_GROUP_ANNOTATION] ?? '';
}

function keyOf({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}/${name}`;
}

function isSame(before: WorkloadEntry, entry: WorkloadEntry): boolean {
  const essence = ({ spec, metadata: { labels, annotations } }: WorkloadEntry): string => JSON.stringify([spec, labels, annotations]);
  return essence(before) === essence(entry);
}
