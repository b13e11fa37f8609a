import { create, type JsonValue, toJson } from '@bufbuild/protobuf';
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt';
import type { MeshSnapshot, ProxyView } from '@mizzen/model';
import { DISCOVERY_NAME, PUSH_ORDER, TYPE_URL, type TypeUrl, xdsRegistry } from '@mizzen/xds-api';
import type { ConnectionStatus, DiscoveryStatus, XdsGenerator } from '@mizzen/xds-server';

/** /debug/syncz: how every proxy stands. */
export function syncStatus(connections: readonly ConnectionStatus[]): unknown[] {
  return connections.map((connection) => {
    const { node, types, connectedAt } = connection;
    const metadata = node.metadata ?? {};
    return {
      proxy: node.id,
      cluster_id: metadata['CLUSTER_ID'] ?? '',
      istio_version: metadata['ISTIO_VERSION'] ?? '',
      instance: metadata['INSTANCE_NAME'] ?? '',
      namespace: metadata['NAMESPACE'] ?? '',
      user_agent: node.userAgentName,
      admin_address: metadata['ADMIN_ADDRESS'] ?? '',
      status_port: metadata['STATUS_PORT'] ?? '',
      ports: pick(metadata, ['INBOUND', 'HTTP_PROXY_PORT', 'PORT_MAP']),
      connected_at: new Date(connectedAt).toISOString(),
      applied_revision: connection.appliedRevision ?? null,
      types: Object.fromEntries(served(types).map(([typeUrl, status]) => [nameOf(typeUrl), typeStatus(status)])),
    };
  });
}

/** The four types that every proxy has, and whatever else this one asked for. */
function served(types: ReadonlyMap<string, DiscoveryStatus>): [string, Pick<DiscoveryStatus, 'state'> & Partial<DiscoveryStatus>][] {
  const always = [TYPE_URL.cluster, TYPE_URL.listener, TYPE_URL.endpoint, TYPE_URL.route];
  const typeUrls = [...always, ...[...types.keys()].filter((typeUrl) => !(always as string[]).includes(typeUrl))];
  return typeUrls.map((typeUrl) => [typeUrl, types.get(typeUrl) ?? { state: 'NOT SENT' }]);
}

function typeStatus({ state, version, ackedVersion, sentAt, ackedAt, reason }: Partial<DiscoveryStatus>): Record<string, unknown> {
  return {
    status: state,
    ...(sentAt !== undefined && { sentAt: new Date(sentAt).toISOString() }),
    ...(ackedAt !== undefined && { ackedAt: new Date(ackedAt).toISOString() }),
    ...(version !== undefined && { version }),
    ...(ackedVersion !== undefined && { ackedVersion }),
    ...(reason !== undefined && { reason }),
  };
}

function nameOf(typeUrl: string): string {
  return DISCOVERY_NAME[typeUrl as TypeUrl] ?? typeUrl;
}

function pick(metadata: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.flatMap((key) => (metadata[key] === undefined ? [] : [[key, metadata[key]]])));
}

/** /debug/adsz: the streams themselves, with what each watches. */
export function streams(connections: readonly ConnectionStatus[]): unknown {
  return {
    totalClients: connections.length,
    clients: connections.map(({ connectionId, node, address, connectedAt, protocol, isSecure, identity, types }) => ({
      connectionId,
      node: node.id,
      address,
      connectedAt: new Date(connectedAt).toISOString(),
      protocol,
      isSecure,
      identity: identity ?? null,
      watches: Object.fromEntries(Array.from(types, ([typeUrl, { names }]) => [nameOf(typeUrl), names === '*' ? '*' : [...names]])),
    })),
  };
}

/** /debug/registryz */
export function registry(snapshot: MeshSnapshot): unknown[] {
  return [...snapshot.services.values()].flat().map((service) => ({
    hostname: service.host,
    namespace: service.namespace,
    resolution: service.resolution,
    isExternal: service.isExternal,
    addresses: service.addresses,
    ports: service.ports,
    source: service.source,
  }));
}

/** /debug/endpointz */
export function endpoints(snapshot: MeshSnapshot): unknown[] {
  return Array.from(snapshot.endpoints, ([service, { byPort, identities }]) => ({
    hostname: service.host,
    namespace: service.namespace,
    identities,
    ports: Object.fromEntries(byPort),
  }));
}

/** /debug/sidecarz: what one proxy may see. */
export function sidecarScope({ node, outboundScope, inbound }: ProxyView): unknown {
  return {
    proxy: node.id,
    namespace: node.namespace,
    scope: outboundScope.key,
    outboundTrafficPolicy: outboundScope.isRegistryOnly ? 'REGISTRY_ONLY' : 'ALLOW_ANY',
    services: outboundScope.services.map(({ host, namespace, ports }) => ({
      hostname: host,
      namespace,
      ports: ports.map(({ number }) => number),
    })),
    egressListeners: outboundScope.egressListeners.map(({ port, bind, protocol, services }) => ({
      port,
      bind,
      protocol,
      services: services.map(({ host }) => host),
    })),
    inbound,
  };
}

/** /debug/config_dump: what one proxy is sent, decoded. Of secrets only the names: their content is for the proxy alone. */
export function configDump(connection: ConnectionStatus, generator: XdsGenerator): unknown {
  const configs = PUSH_ORDER.flatMap((typeUrl) => {
    const names = connection.types.get(typeUrl)?.names;
    const set = names && generator.generate({ node: connection.node, typeUrl, names });
    if (!set) return [];
    const resources = Array.from(set.resources.values(), ({ name, version, value }) => ({
      name,
      version,
      ...(typeUrl !== TYPE_URL.secret && { resource: decode({ typeUrl, value }) }),
    }));
    return [{ type: DISCOVERY_NAME[typeUrl], typeUrl, version: set.version, resources }];
  });
  return { proxy: connection.node.id, configs };
}

function decode({ typeUrl, value }: Pick<Any, 'typeUrl' | 'value'>): JsonValue {
  return toJson(AnySchema, create(AnySchema, { typeUrl, value }), { registry: xdsRegistry });
}
