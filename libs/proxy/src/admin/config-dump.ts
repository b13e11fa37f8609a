import { create, createRegistry, type DescMessage, type JsonObject, type MessageShape, toJson } from '@bufbuild/protobuf';
import { type Any, type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { packAny, unpackAny, xdsRegistry } from '@mizzen/xds-api';
import { BootstrapConfigDumpSchema, ConfigDumpSchema, SecretsConfigDumpSchema } from '@mizzen/xds-api/envoy/admin/v3/config_dump';
import {
  ClientResourceStatus,
  ClustersConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
} from '@mizzen/xds-api/envoy/admin/v3/config_dump_shared';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { DataSourceSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { RouteConfigurationSchema } from '@mizzen/xds-api/envoy/config/route/v3/route';
import { HttpConnectionManagerSchema } from '@mizzen/xds-api/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager';
import { CertificateValidationContextSchema, TlsCertificateSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/common';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import { RE2JS } from 're2js';
import type { ClusterManager } from '../cluster/cluster-manager.ts';
import type { ListenerManager } from '../listener/listener-manager.ts';
import type { SecretStore } from '../tls/secret-store.ts';
import type { ProxyResources } from '../xds/proxy-resources.ts';
import type { RefusedResource, ResourceStore, StoredResource } from '../xds/resource-store.ts';

export interface DumpSources {
  readonly bootstrap: Bootstrap;
  readonly resources: ProxyResources;
  readonly clusters: ClusterManager;
  readonly listeners: ListenerManager;
  readonly secrets: SecretStore;
}

export interface DumpOptions {
  readonly includesEndpoints: boolean;
  /** `dynamic_listeners`, `dynamic_active_clusters`, …: only the items of this field. */
  readonly resource: string | undefined;
  /** Only resources whose whole name matches (RE2). */
  readonly nameRegex: string | undefined;
  /** `bootstrap.node.id,…`: only these fields; with `resource`, of each of its items. */
  readonly mask: string | undefined;
  readonly startedMs: number;
}

const dumpRegistry = createRegistry(
  xdsRegistry,
  BootstrapConfigDumpSchema,
  ClustersConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
  SecretsConfigDumpSchema,
);

export type DumpResult = { readonly json: string } | { readonly error: string; readonly status: number };

/** The configuration in force, in the messages of envoy.admin.v3, so that Envoy's and Istio's tools read it. Private keys are left out. */
export function configDump(from: DumpSources, options: DumpOptions): DumpResult {
  let accepts: (name: string) => boolean = () => true;
  if (options.nameRegex !== undefined) {
    try {
      const pattern = RE2JS.compile(options.nameRegex);
      accepts = (name) => pattern.matches(name);
    } catch {
      return { error: 'name_regex is not a valid RE2 expression', status: 400 };
    }
  }
  const { resources } = from;
  const isWhole = options.resource === undefined && options.nameRegex === undefined;
  const parts = [
    isWhole
      ? packAny(
          BootstrapConfigDumpSchema,
          create(BootstrapConfigDumpSchema, {
            bootstrap: redactBootstrap(from.bootstrap),
            lastUpdated: timestampFromMs(options.startedMs),
          }),
        )
      : undefined,
    packAny(
      ClustersConfigDumpSchema,
      clustersDump(resources.kinds.cluster, new Set(from.clusters.warming().map((cluster) => cluster.name)), accepts),
    ),
    options.includesEndpoints ? packAny(EndpointsConfigDumpSchema, endpointsDump(resources.kinds.endpoint, accepts)) : undefined,
    packAny(
      ListenersConfigDumpSchema,
      listenersDump(
        resources.kinds.listener,
        new Set(from.listeners.list().flatMap((listener) => (listener.isWarming ? [listener.name] : []))),
        accepts,
      ),
    ),
    packAny(RoutesConfigDumpSchema, routesDump(resources, accepts)),
    packAny(SecretsConfigDumpSchema, secretsDump(from.secrets, accepts)),
  ].filter((part) => part !== undefined);
  const configs = options.resource === undefined ? wholeDump(parts) : itemsOf(parts, options.resource);
  if (configs === undefined) return { error: `${options.resource} not found in config dump`, status: 404 };
  const masked = options.mask === undefined ? configs : applyMask(configs, options.mask.split(','));
  if (masked.length === 0 && configs.length > 0) return { error: `FieldMask ${options.mask} could not be successfully used.`, status: 400 };
  return { json: JSON.stringify({ configs: masked }, undefined, 1) };
}

function wholeDump(parts: readonly Any[]): readonly JsonObject[] {
  const json = toJson(ConfigDumpSchema, create(ConfigDumpSchema, { configs: [...parts] }), {
    registry: dumpRegistry,
    useProtoFieldName: true,
  }) as { readonly configs?: readonly JsonObject[] };
  return json.configs ?? [];
}

/** `?resource=` gives the items of one repeated field, each with its type, as Envoy does. */
function itemsOf(parts: readonly Any[], resource: string): readonly JsonObject[] | undefined {
  for (const part of parts) {
    const schema = dumpRegistry.getMessage(part.typeUrl.slice(part.typeUrl.lastIndexOf('/') + 1)) as DescMessage;
    const field = schema.fields.find((candidate) => candidate.name === resource && candidate.fieldKind === 'list');
    if (field === undefined) continue;
    const json = toJson(schema, unpackAny(part, schema) as MessageShape<typeof schema>, {
      registry: dumpRegistry,
      useProtoFieldName: true,
    }) as JsonObject;
    const items = (json[resource] ?? []) as readonly JsonObject[];
    return items.map((item) => ({ '@type': `type.googleapis.com/${field.message?.typeName ?? ''}`, ...item }));
  }
  return undefined;
}

/** Keeps the fields that the mask names; messages that have none of them are left out. Type names stay. */
function applyMask(configs: readonly JsonObject[], paths: readonly string[]): readonly JsonObject[] {
  return configs.flatMap((config) => {
    let kept: JsonObject = {};
    for (const path of paths) {
      const found = pick(config, path.trim().split('.'));
      if (found !== undefined) kept = merge(kept, found);
    }
    return Object.keys(kept).length === 0 ? [] : [{ '@type': config['@type'] ?? '', ...kept }];
  });
}

function pick(from: JsonObject, [name = '', ...rest]: readonly string[]): JsonObject | undefined {
  const value = from[name];
  if (value === undefined) return undefined;
  if (rest.length === 0) return { [name]: value };
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const inner = pick(value, rest);
  const type = value['@type'];
  return inner === undefined ? undefined : { [name]: type === undefined ? inner : { '@type': type, ...inner } };
}

function merge(a: JsonObject, b: JsonObject): JsonObject {
  const merged: JsonObject = { ...a };
  for (const [key, value] of Object.entries(b)) {
    const before = merged[key];
    merged[key] = isObject(before) && isObject(value) ? merge(before, value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function dumped(resource: StoredResource): { versionInfo: string; lastUpdated: Timestamp; clientStatus: ClientResourceStatus } {
  return { versionInfo: resource.version, lastUpdated: timestampFromMs(resource.updatedMs), clientStatus: ClientResourceStatus.ACKED };
}

function errorState(refused: RefusedResource | undefined) {
  if (refused === undefined) return {};
  return {
    errorState: {
      failedConfiguration: refused.body,
      lastUpdateAttempt: timestampFromMs(refused.atMs),
      details: refused.reason,
      versionInfo: refused.version,
    },
    clientStatus: ClientResourceStatus.NACKED,
  };
}

function split(
  store: ResourceStore,
  accepts: (name: string) => boolean,
): { statics: readonly StoredResource[]; dynamics: readonly StoredResource[] } {
  const all = store.all().filter((resource) => accepts(resource.name));
  return { statics: all.filter((resource) => resource.isStatic), dynamics: all.filter((resource) => !resource.isStatic) };
}

function clustersDump(store: ResourceStore, warming: ReadonlySet<string>, accepts: (name: string) => boolean) {
  const { statics, dynamics } = split(store, accepts);
  const item = (resource: StoredResource) => ({
    ...dumped(resource),
    cluster: resource.body,
    ...errorState(store.refused().get(resource.name)),
  });
  return create(ClustersConfigDumpSchema, {
    versionInfo: store.version,
    staticClusters: statics.map((resource) => ({ cluster: resource.body, lastUpdated: timestampFromMs(resource.updatedMs) })),
    dynamicActiveClusters: dynamics.filter((resource) => !warming.has(resource.name)).map(item),
    dynamicWarmingClusters: dynamics.filter((resource) => warming.has(resource.name)).map(item),
  });
}

function endpointsDump(store: ResourceStore, accepts: (name: string) => boolean) {
  const { dynamics } = split(store, accepts);
  return create(EndpointsConfigDumpSchema, {
    dynamicEndpointConfigs: dynamics.map((resource) => ({ ...dumped(resource), endpointConfig: resource.body })),
  });
}

function listenersDump(store: ResourceStore, warming: ReadonlySet<string>, accepts: (name: string) => boolean) {
  const { statics, dynamics } = split(store, accepts);
  const state = (resource: StoredResource) => ({
    versionInfo: resource.version,
    listener: resource.body,
    lastUpdated: timestampFromMs(resource.updatedMs),
  });
  const known = dynamics.map((resource) => ({
    name: resource.name,
    clientStatus: ClientResourceStatus.ACKED,
    ...(warming.has(resource.name) ? { warmingState: state(resource) } : { activeState: state(resource) }),
    ...errorState(store.refused().get(resource.name)),
  }));
  const refusedOnly = [...store.refused()]
    .filter(([name]) => accepts(name) && store.get(name) === undefined)
    .map(([name, refused]) => ({ name, ...errorState(refused) }));
  return create(ListenersConfigDumpSchema, {
    versionInfo: store.version,
    staticListeners: statics.map((resource) => ({ listener: resource.body, lastUpdated: timestampFromMs(resource.updatedMs) })),
    dynamicListeners: [...known, ...refusedOnly],
  });
}

function routesDump(resources: ProxyResources, accepts: (name: string) => boolean) {
  const { dynamics } = split(resources.kinds.route, accepts);
  return create(RoutesConfigDumpSchema, {
    staticRouteConfigs: inlineRoutes(resources.kinds.listener, accepts),
    dynamicRouteConfigs: dynamics.map((resource) => ({
      ...dumped(resource),
      routeConfig: resource.body,
      ...errorState(resources.kinds.route.refused().get(resource.name)),
    })),
  });
}

/** Envoy lists the route configurations that stand inside listeners as static ones. */
function inlineRoutes(listeners: ResourceStore, accepts: (name: string) => boolean) {
  return listeners.all().flatMap((resource) => {
    const listener = unpackAny(resource.body, ListenerSchema);
    const chains = [
      ...(listener?.filterChains ?? []),
      ...(listener?.defaultFilterChain === undefined ? [] : [listener.defaultFilterChain]),
    ];
    return chains.flatMap((chain) => {
      const terminal = chain.filters.at(-1);
      const manager =
        terminal?.configType.case === 'typedConfig' ? unpackAny(terminal.configType.value, HttpConnectionManagerSchema) : undefined;
      const routes = manager?.routeSpecifier.case === 'routeConfig' ? manager.routeSpecifier.value : undefined;
      if (routes === undefined || !accepts(routes.name)) return [];
      return [{ routeConfig: packAny(RouteConfigurationSchema, routes), lastUpdated: timestampFromMs(resource.updatedMs) }];
    });
  });
}

const REDACTED = create(DataSourceSchema, { specifier: { case: 'inlineBytes', value: Buffer.from('[redacted]') } });

function secretsDump(secrets: SecretStore, accepts: (name: string) => boolean) {
  const entries = secrets.entries().filter(({ name }) => accepts(name));
  return create(SecretsConfigDumpSchema, {
    dynamicActiveSecrets: entries.map(({ name, content, version, updatedMs }) => {
      const secret = create(SecretSchema, { name });
      const source = (text: string) => create(DataSourceSchema, { specifier: { case: 'inlineBytes', value: Buffer.from(text) } });
      if (content.kind === 'keyPair') {
        secret.type = {
          case: 'tlsCertificate',
          value: create(TlsCertificateSchema, { certificateChain: source(content.keyPair.chain), privateKey: REDACTED }),
        };
      } else {
        secret.type = {
          case: 'validationContext',
          value: create(
            CertificateValidationContextSchema,
            content.trust.roots === undefined ? {} : { trustedCa: source(content.trust.roots) },
          ),
        };
      }
      return {
        name,
        versionInfo: version,
        lastUpdated: timestampFromMs(updatedMs),
        secret: packAny(SecretSchema, secret),
        clientStatus: ClientResourceStatus.ACKED,
      };
    }),
  });
}

/** Static resources are listed by their own sections; secrets of the bootstrap would show their keys. */
function redactBootstrap(bootstrap: Bootstrap): Bootstrap {
  if (bootstrap.staticResources === undefined) return bootstrap;
  return { ...bootstrap, staticResources: { ...bootstrap.staticResources, secrets: [] } };
}
