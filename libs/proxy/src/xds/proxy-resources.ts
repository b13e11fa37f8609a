import { hash } from 'node:crypto';
import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf';
import { type Clock, errorMessage, type Logger } from '@mizzen/core';
import { compileRouteConfiguration, type FilterConfigCompilers, formatRejections, type RouteTable } from '@mizzen/matching';
import {
  TYPE_URL,
  type TypeName,
  type XdsConsumer,
  type XdsRejection,
  type XdsResource,
  type XdsSubscription,
  type XdsUpdate,
} from '@mizzen/xds-api';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { compileAssignment } from '../cluster/assignment.ts';
import { compileCluster } from '../cluster/cluster-config.ts';
import type { ClusterManager } from '../cluster/cluster-manager.ts';
import { ConfigError } from '../config/config-error.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import { readRouteTracing } from '../observe/route-tracing.ts';
import { compileSecret, type SecretStore } from '../tls/secret-store.ts';
import type { ProcessShare } from '../workers/process-share.ts';
import { ResourceStore } from './resource-store.ts';

export type ResourceKind = Exclude<TypeName, 'nameTable'>;

export interface ProxyResourcesOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly secrets: SecretStore;
  readonly routeTables: Map<string, RouteTable>;
  readonly filterConfigs: FilterConfigCompilers;
  /** Where the process has further event loops. */
  readonly share?: ProcessShare | undefined;
  /** Called after each update, and whenever something that is waited for arrived. */
  readonly onChange: () => void;
}

/** What each type of resource does when it arrives or goes. */
interface Kind {
  readonly store: ResourceStore;
  /** Compiles and puts in force, or throws and has changed nothing. */
  accept(resource: XdsResource): void;
  remove(name: string): void;
}

/**
 * Takes xDS updates: each resource is compiled and put in force by itself, so that one bad resource leaves the others alone. Keeps the
 * encoded resources and knows what must be subscribed to.
 */
export class ProxyResources implements XdsConsumer {
  readonly kinds: Readonly<Record<ResourceKind, ResourceStore>>;
  readonly #options: ProxyResourcesOptions;
  readonly #byTypeUrl: ReadonlyMap<string, Kind>;
  readonly #subscribers = new Set<(subscription: XdsSubscription) => void>();
  readonly #lastNames = new Map<string, string>();
  #isFlushing = false;
  /** Whether listeners have arrived (even none). */
  hasListeners = false;

  constructor(options: ProxyResourcesOptions) {
    this.#options = options;
    this.kinds = {
      cluster: new ResourceStore(),
      endpoint: new ResourceStore(),
      listener: new ResourceStore(),
      route: new ResourceStore(),
      secret: new ResourceStore(),
    };
    this.#byTypeUrl = new Map(Object.entries(this.#describeKinds()).map(([name, kind]) => [TYPE_URL[name as ResourceKind], kind]));
  }

  apply(update: XdsUpdate): readonly XdsRejection[] {
    const kind = this.#byTypeUrl.get(update.typeUrl);
    if (kind === undefined) return [];
    for (const name of this.#removedNames(kind.store, update)) {
      kind.store.remove(name);
      kind.remove(name);
    }
    const rejections = update.upserts.flatMap((resource) => this.#accept(kind, resource) ?? []);
    kind.store.version = update.version;
    if (update.typeUrl === TYPE_URL.listener) this.hasListeners = true;
    this.changed();
    return rejections;
  }

  subscriptions(onChange: (subscription: XdsSubscription) => void): { readonly current: readonly XdsSubscription[]; stop(): void } {
    const current = this.#subscriptions();
    for (const subscription of current) this.#lastNames.set(subscription.typeUrl, namesKey(subscription));
    this.#subscribers.add(onChange);
    return { current, stop: () => this.#subscribers.delete(onChange) };
  }

  /** Puts a resource of the bootstrap in force. Throws ConfigError. */
  addStatic(kind: ResourceKind, resource: XdsResource): void {
    const target = this.#byTypeUrl.get(TYPE_URL[kind]) as Kind;
    this.#compile(target, resource, `static|${kind}|${resource.name}`);
    target.store.set({ ...resource, isStatic: true, updatedMs: this.#options.clock.now() });
    this.changed();
  }

  /** Looks again at what can be put in force, once the present events are through. */
  changed(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      this.#options.listeners.promoteWarm();
      this.#publishSubscriptions();
      this.#options.onChange();
    });
  }

  #accept(kind: Kind, resource: XdsResource): XdsRejection | undefined {
    const known = kind.store.get(resource.name);
    if (known?.isStatic) return undefined;
    const stored = { ...resource, isStatic: false, updatedMs: this.#options.clock.now() };
    if (kind.store.has(resource.name, resource.body)) {
      kind.store.set(stored);
      return undefined;
    }
    try {
      const { typeUrl, value } = resource.body;
      this.#compile(kind, resource, `${typeUrl}|${resource.name}|${this.#options.share === undefined ? '' : hash('sha1', value)}`);
      kind.store.set(stored);
      return undefined;
    } catch (thrown) {
      const reason = errorMessage(thrown);
      kind.store.refuse(resource.name, { body: resource.body, version: resource.version, reason, atMs: stored.updatedMs });
      this.#options.logger.warn({ typeUrl: resource.body.typeUrl, resource: resource.name, reason }, 'resource refused');
      return { name: resource.name, reason };
    }
  }

  /** `key` is the same in all event loops, and another one for each version. */
  #compile(kind: Kind, resource: XdsResource, key: string): void {
    const { share } = this.#options;
    if (share === undefined) kind.accept(resource);
    else share.compiling(key, () => kind.accept(resource));
  }

  /** Names of a type that came by xDS, in force or refused. */
  namesOf(typeUrl: string): readonly string[] {
    const store = this.#byTypeUrl.get(typeUrl)?.store;
    return store?.names().filter((name) => store.get(name)?.isStatic !== true) ?? [];
  }

  #removedNames(store: ResourceStore, update: XdsUpdate): readonly string[] {
    const given = new Set(update.upserts.map((resource) => resource.name));
    const gone = update.isWholeState ? store.names().filter((name) => !given.has(name)) : update.removed;
    return gone.filter((name) => store.get(name)?.isStatic !== true);
  }

  #describeKinds(): Readonly<Record<ResourceKind, Kind>> {
    const { clusters, listeners, secrets, routeTables, filterConfigs, clock } = this.#options;
    return {
      cluster: {
        store: this.kinds.cluster,
        accept: (resource) => clusters.upsert(compileCluster(decode(ClusterSchema, resource), secrets)),
        remove: (name) => clusters.remove(name),
      },
      endpoint: {
        store: this.kinds.endpoint,
        accept: (resource) => clusters.setAssignment(resource.name, compileAssignment(decode(ClusterLoadAssignmentSchema, resource))),
        remove: (name) => clusters.removeAssignment(name),
      },
      listener: {
        store: this.kinds.listener,
        accept: (resource) => listeners.upsert({ ...decode(ListenerSchema, resource), name: resource.name }),
        remove: (name) => listeners.remove(name),
      },
      route: {
        store: this.kinds.route,
        accept: (resource) => {
          const { table, rejections } = compileRouteConfiguration(decode(RouteConfigurationSchema, resource), undefined, {
            filterConfigs,
            readTracing: readRouteTracing,
          });
          if (table === undefined || rejections.length > 0) throw new ConfigError('', formatRejections(rejections));
          routeTables.set(resource.name, table);
        },
        remove: (name) => routeTables.delete(name),
      },
      secret: {
        store: this.kinds.secret,
        accept: (resource) =>
          secrets.set(resource.name, compileSecret(decode(SecretSchema, resource)), { version: resource.version, nowMs: clock.now() }),
        remove: (name) => secrets.remove(name),
      },
    };
  }

  #subscriptions(): readonly XdsSubscription[] {
    const { clusters, listeners, secrets } = this.#options;
    const secretNames = [...listeners.secretNames(), ...secrets.wantedNames()];
    return [
      { typeUrl: TYPE_URL.cluster, names: '*' },
      { typeUrl: TYPE_URL.endpoint, names: clusters.edsNames() },
      { typeUrl: TYPE_URL.listener, names: '*' },
      { typeUrl: TYPE_URL.route, names: listeners.routeNames() },
      { typeUrl: TYPE_URL.secret, names: new Set(secretNames) },
    ];
  }

  #publishSubscriptions(): void {
    if (this.#subscribers.size === 0) return;
    for (const subscription of this.#subscriptions()) {
      const key = namesKey(subscription);
      if (this.#lastNames.get(subscription.typeUrl) === key) continue;
      this.#lastNames.set(subscription.typeUrl, key);
      for (const subscriber of [...this.#subscribers]) subscriber(subscription);
    }
  }
}

function decode<Desc extends DescMessage>(schema: Desc, resource: XdsResource): MessageShape<Desc> {
  const { typeUrl, value } = resource.body;
  if (typeUrl.slice(typeUrl.lastIndexOf('/') + 1) !== schema.typeName)
    throw new ConfigError('', `holds a ${typeUrl}, not a ${schema.typeName}`);
  try {
    return fromBinary(schema, value);
  } catch (thrown) {
    throw new ConfigError('', `does not decode: ${errorMessage(thrown)}`);
  }
}

function namesKey(subscription: XdsSubscription): string {
  return subscription.names === '*' ? '*' : [...subscription.names].sort().join('\n');
}
