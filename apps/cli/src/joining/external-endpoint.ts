import { isIP } from 'node:net';
import { MizzenError } from '@mizzen/core';
import type { Resource } from '@mizzen/mesh-api';

/** One endpoint of a service that is no pod and has no agent. */
export interface ExternalEndpoint {
  readonly service: string;
  readonly namespace: string;
  readonly address: string;
  readonly ports: readonly ServicePort[];
  /** Set where the endpoint proves an identity of the mesh: it is called by mutual TLS then. */
  readonly serviceAccount: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ServicePort {
  readonly name: string;
  readonly number: number;
  readonly protocol: string;
}

// Istio's names of protocols, as the name of a port may begin with. Source: istio pkg/config/protocol/instance.go (1.32).
const PROTOCOLS: Readonly<Record<string, string>> = {
  http: 'HTTP',
  http2: 'HTTP2',
  https: 'HTTPS',
  grpc: 'GRPC',
  'grpc-web': 'GRPC-WEB',
  tcp: 'TCP',
  tls: 'TLS',
  mongo: 'MONGO',
  mysql: 'MYSQL',
  redis: 'REDIS',
};

/** `3306`, `tcp:3306`, `http-web:8080`: the name says the protocol as a Service's does; without one it is TCP. Throws MIZZEN_SETTINGS. */
export function parseServicePort(text: string): ServicePort {
  const [, name, digits] = /^(?:([a-z0-9](?:[-a-z0-9]*[a-z0-9])?):)?(\d{1,5})$/.exec(text) ?? [];
  const number = Number(digits);
  if (digits === undefined || number < 1 || number > 65_535)
    throw new MizzenError('MIZZEN_SETTINGS', `a port must be PORT or NAME:PORT such as http:8080, not "${text}"`);
  if (name === undefined) return { name: `tcp-${number}`, number, protocol: 'TCP' };
  const prefix = Object.keys(PROTOCOLS)
    .filter((protocol) => name === protocol || name.startsWith(`${protocol}-`))
    .sort((a, b) => b.length - a.length)[0];
  return { name, number, protocol: prefix === undefined ? 'TCP' : (PROTOCOLS[prefix] as string) };
}

/** The service, whose endpoints are the WorkloadEntries with its label. */
export function serviceEntryFor({ service, namespace, ports, serviceAccount }: ExternalEndpoint): Resource<'ServiceEntry'> {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: metadataOf(service, namespace),
    spec: {
      hosts: [`${service}.${namespace}.svc.cluster.local`],
      location: serviceAccount === undefined ? 'MESH_EXTERNAL' : 'MESH_INTERNAL',
      resolution: 'STATIC',
      ports: ports.map(({ name, number, protocol }) => ({ name, number, protocol })),
      workloadSelector: { labels: { app: service } },
    },
  };
}

/** The endpoint, for a service that selects workloads by `selector`. */
export function workloadEntryFor(endpoint: ExternalEndpoint, selector: Readonly<Record<string, string>>): Resource<'WorkloadEntry'> {
  const { service, namespace, address, ports, serviceAccount, labels } = endpoint;
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: metadataOf(entryName(service, address), namespace),
    spec: {
      address,
      ports: Object.fromEntries(ports.map(({ name, number }) => [name, number])),
      labels: { ...labels, ...selector, ...(serviceAccount !== undefined && { 'security.istio.io/tlsMode': 'istio' }) },
      ...(serviceAccount !== undefined && { serviceAccount }),
    },
  };
}

/** The service with one more of the endpoints that it lists itself; the same where it has it already. */
export function withInlineEndpoint(entry: Resource<'ServiceEntry'>, endpoint: ExternalEndpoint): Resource<'ServiceEntry'> {
  const { address, labels, serviceAccount, ports } = endpoint;
  const others = (entry.spec.endpoints ?? []).filter((known) => known.address !== address);
  const own = {
    address,
    ...(ports.length > 0 && { ports: Object.fromEntries(ports.map(({ name, number }) => [name, number])) }),
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(serviceAccount !== undefined && { serviceAccount }),
  };
  return { ...entry, spec: { ...entry.spec, endpoints: [...others, own] } };
}

export function withoutInlineEndpoint(entry: Resource<'ServiceEntry'>, address: string): Resource<'ServiceEntry'> {
  return { ...entry, spec: { ...entry.spec, endpoints: (entry.spec.endpoints ?? []).filter((known) => known.address !== address) } };
}

/** A name that Kubernetes takes: `mysql-10-0-0-7`. */
export function entryName(service: string, address: string): string {
  return `${service}-${address
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')}`.slice(0, 253);
}

/** Throws MIZZEN_SETTINGS. */
export function parseAddress(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new MizzenError(
    'MIZZEN_SETTINGS',
    `the address must be an IP address, not "${text}"; a ServiceEntry with resolution DNS takes names`,
  );
}

function metadataOf(name: string, namespace: string): Resource['metadata'] {
  return { name, namespace, labels: {}, annotations: {}, creationTimestamp: '', generation: 1 };
}
