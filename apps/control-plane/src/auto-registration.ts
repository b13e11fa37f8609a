import type { Clock, Logger, ResourceRef, Watchable } from '@mizzen/core';
import { type Resource, refOf } from '@mizzen/mesh-api';
import { AUTO_REGISTRATION_GROUP_ANNOTATION, type ProxyNode, TLS_MODE_LABEL } from '@mizzen/model';
import { createWorkloadRegistry, type WorkloadRegistry } from '@mizzen/sources';

type WorkloadGroup = Resource<'WorkloadGroup'>;
type WorkloadEntry = Resource<'WorkloadEntry'>;

/** A proxy that wants to be registered, as its stream told. */
export interface RegistrationRequest {
  readonly connectionId: string;
  readonly proxy: ProxyNode;
  /** Where the workload is reached. */
  readonly address: string;
  readonly connectedAt: number;
}

export type RegistrationEvent = 'registered' | 'unregistered' | 'deleted' | 'refused';

export interface AutoRegistrationOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The groups in force, by `namespace/name`. */
  readonly groups: () => ReadonlyMap<string, WorkloadGroup>;
  /** An entry whose agent was lost, and did not say good-bye, stays for so long. */
  readonly graceMs: number;
  readonly onEvent?: (event: RegistrationEvent) => void;
  /** Where the entries are kept. Default: in memory. */
  readonly store?: RegisteredWorkloads;
}

/** Keeps the entries of the workloads that are registered. */
export type RegisteredWorkloads = Pick<WorkloadRegistry, 'entries' | 'add' | 'remove' | 'close'>;

/** One instance of a group. Several streams may be open for it while its agent reconnects; the newest tells where it is. */
interface Instance {
  readonly request: RegistrationRequest;
  readonly connectionIds: Set<string>;
  refusal: string | undefined;
  /** As its agent told; undefined before it did. Counts where the group has a probe. */
  isHealthy: boolean | undefined;
}

/**
 * Makes a WorkloadEntry of every connected agent that names a WorkloadGroup, and takes it back when the agent goes: at once when it
 * says good-bye, after a grace when it was lost. Source: istio pilot/pkg/autoregistration/controller.go (1.32).
 */
export class AutoRegistration {
  readonly #options: AutoRegistrationOptions;
  readonly #registry: RegisteredWorkloads;
  readonly #instances = new Map<string, Instance>();

  constructor(options: AutoRegistrationOptions) {
    this.#options = options;
    this.#registry = options.store ?? createWorkloadRegistry({ clock: options.clock });
  }

  /** The entries in force. Unchanged ones stay the same objects. */
  get entries(): Watchable<readonly WorkloadEntry[]> {
    return this.#registry.entries;
  }

  connected(request: RegistrationRequest): void {
    if (request.proxy.autoRegisterGroup === '') return;
    const key = keyOf(request.proxy);
    const known = this.#instances.get(key);
    const instance = {
      request,
      connectionIds: known?.connectionIds ?? new Set<string>(),
      refusal: known?.refusal,
      isHealthy: known?.isHealthy,
    };
    instance.connectionIds.add(request.connectionId);
    this.#instances.set(key, instance);
    this.#register(instance);
    if (instance.refusal === undefined) this.#options.onEvent?.('registered');
  }

  /** An agent told how its workload is. Source: istio pilot/pkg/autoregistration/controller.go QueueWorkloadEntryHealth (1.32). */
  reported({ proxy }: Pick<RegistrationRequest, 'proxy'>, { isHealthy, reason }: { isHealthy: boolean; reason: string }): void {
    const instance = this.#instances.get(keyOf(proxy));
    if (!instance || instance.isHealthy === isHealthy) return;
    instance.isHealthy = isHealthy;
    this.#options.logger.info({ node: proxy.id, isHealthy, ...(reason !== '' && { reason }) }, 'the health of a workload changed');
    this.#register(instance);
  }

  disconnected({ connectionId, proxy }: Pick<RegistrationRequest, 'connectionId' | 'proxy'>, end: { isGraceful: boolean }): void {
    const key = keyOf(proxy);
    const instance = this.#instances.get(key);
    if (!instance?.connectionIds.delete(connectionId) || instance.connectionIds.size > 0) return;
    this.#instances.delete(key);
    this.#options.onEvent?.('unregistered');
    this.#registry.remove(refOfInstance(proxy), { afterMs: end.isGraceful ? 0 : this.#options.graceMs });
  }

  /** Looks at the groups again, which may have come, gone or changed. */
  refresh(): void {
    for (const instance of this.#instances.values()) this.#register(instance);
  }

  close(): void {
    this.#registry.close();
    this.#instances.clear();
  }

  #register(instance: Instance): void {
    const { proxy } = instance.request;
    const group = this.#options.groups().get(`${proxy.namespace}/${proxy.autoRegisterGroup}`);
    const refusal = refusalOf(group, proxy);
    const isHealthy = group?.spec.probe === undefined || instance.isHealthy;
    if (group && refusal === undefined && isHealthy) this.#registry.add(entryFromGroup(group, instance.request));
    // One that came back, and has not told yet, is what it was.
    else if (refusal !== undefined || isHealthy === false) this.#registry.remove(refOfInstance(proxy));
    if (refusal !== undefined && refusal !== instance.refusal) {
      this.#options.onEvent?.('refused');
      this.#options.logger.warn({ node: proxy.id, reason: refusal }, 'workload is not registered');
    }
    instance.refusal = refusal;
  }
}

function refusalOf(group: WorkloadGroup | undefined, proxy: ProxyNode): string | undefined {
  if (!group) return `there is no WorkloadGroup ${proxy.namespace}/${proxy.autoRegisterGroup}; the workload is registered once there is`;
  const expected = group.spec.template.serviceAccount ?? '';
  if (expected === '' || expected === proxy.serviceAccount) return undefined;
  return `the WorkloadGroup is for the service account ${expected}, the workload runs as ${proxy.serviceAccount || 'none'}`;
}

function keyOf(proxy: ProxyNode): string {
  return `${proxy.namespace}/${entryName(proxy)}`;
}

function entryName(proxy: ProxyNode): string {
  return `${proxy.autoRegisterGroup}-${proxy.instanceName}`;
}

function refOfInstance(proxy: ProxyNode): ResourceRef {
  return { kind: 'WorkloadEntry', namespace: proxy.namespace, name: entryName(proxy) };
}

/** The entry of one instance: the group's template, with where this instance is and where it listens. */
export function entryFromGroup(group: WorkloadGroup, { proxy, address, connectedAt }: RegistrationRequest): WorkloadEntry {
  const { template, metadata } = group.spec;
  const listenPorts = new Map(proxy.inbound.map(({ port, listenPort }) => [port, listenPort]));
  const ports = Object.fromEntries(Object.entries(template.ports ?? {}).map(([name, port]) => [name, listenPorts.get(port) ?? port]));
  const connectedAtText = new Date(connectedAt).toISOString();
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      name: entryName(proxy),
      namespace: refOf(group).namespace,
      labels: metadata?.labels ?? {},
      annotations: {
        ...metadata?.annotations,
        [AUTO_REGISTRATION_GROUP_ANNOTATION]: group.metadata.name,
        'istio.io/workloadController': 'istiod',
        'istio.io/connectedAt': connectedAtText,
      },
      creationTimestamp: connectedAtText,
      generation: 1,
    },
    spec: {
      ...template,
      // The identity that clients expect is the one that the proxy proves.
      ...(proxy.serviceAccount !== '' && { serviceAccount: proxy.serviceAccount }),
      address,
      ports,
      // An agent serves mutual TLS unless it says that it has no identity.
      labels: { [TLS_MODE_LABEL]: 'istio', ...metadata?.labels, ...template.labels, ...proxy.labels },
    },
  };
}
