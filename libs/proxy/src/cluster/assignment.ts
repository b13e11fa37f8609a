import type { JsonObject } from '@bufbuild/protobuf';
import { HealthStatus } from '@mizzen/xds-api/envoy/config/core/v3/health_check';
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignment_Policy_DropOverloadSchema,
  ClusterLoadAssignment_PolicySchema,
  ClusterLoadAssignmentSchema,
} from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import {
  Endpoint_AdditionalAddressSchema,
  Endpoint_HealthCheckConfigSchema,
  type Endpoint as EndpointMessage,
  EndpointSchema,
  type LbEndpoint,
  LbEndpointSchema,
  type LocalityLbEndpoints,
  LocalityLbEndpoints_LbEndpointListSchema,
  LocalityLbEndpointsSchema,
} from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint_components';
import { FractionalPercent_DenominatorType as Denominator } from '@mizzen/xds-api/envoy/type/v3/percent';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';

/** The endpoints of a cluster, compiled: no message is kept for any of them. */
export interface AssignmentConfig {
  readonly localities: readonly LocalityConfig[];
  /** Percent: how much more than its share a priority can take. */
  readonly overprovisioningPercent: number;
  /** Priorities are judged by the weights of their endpoints. */
  readonly isHealthWeighted: boolean;
  /** Requests that are dropped by order of the control plane, in this order. */
  readonly drops: readonly DropConfig[];
}

export interface DropConfig {
  readonly category: string;
  /** 0 to 1. */
  readonly ratio: number;
}

export interface LocalityConfig {
  /** `region/zone/sub_zone`. */
  readonly locality: string;
  readonly priority: number;
  /** 0 where none was given. */
  readonly weight: number;
  readonly endpoints: readonly EndpointConfig[];
}

export interface EndpointConfig {
  readonly address: SocketAddress | { readonly kind: 'internal'; readonly name: string };
  readonly hostname: string;
  readonly weight: number;
  readonly health: EndpointHealth;
  /** What few endpoints have; equal ones are shared. */
  readonly details: EndpointDetails;
  /** Istio's `name;namespace;canonical service;canonical revision;cluster id`, or ''. */
  readonly workload: string;
}

export interface EndpointDetails {
  /** `envoy.transport_socket_match`, which transport socket it needs. */
  readonly transportLabels: JsonObject | undefined;
  /** `envoy.lb`: which subsets it belongs to, `hash_key`, `canary`. */
  readonly lbMetadata: JsonObject | undefined;
  /** What else is said of it, by namespace: for those who print it. */
  readonly otherMetadata: Readonly<Record<string, JsonObject>> | undefined;
  /** More addresses of the same endpoint, tried in turn with the first. */
  readonly moreAddresses: readonly SocketAddress[];
  readonly healthCheck: EndpointHealthCheck | undefined;
  /** What the control plane calls DRAINING, which else is the same as unhealthy. */
  readonly isDraining: boolean;
}

export interface EndpointHealthCheck {
  /** undefined: the endpoint's own. */
  readonly port: number | undefined;
  readonly address: SocketAddress | undefined;
  /** For the Host header and authority of checks; ''. */
  readonly hostname: string;
  readonly isDisabled: boolean;
}

/** As the control plane says. */
export type EndpointHealth = 'healthy' | 'degraded' | 'unhealthy';

// Source: envoy docs, ClusterLoadAssignment.Policy.overprovisioning_factor (1.40).
const DEFAULT_OVERPROVISIONING_PERCENT = 140;
const MAX_PRIORITY = 128;

export const NO_ENDPOINTS: AssignmentConfig = {
  localities: [],
  overprovisioningPercent: DEFAULT_OVERPROVISIONING_PERCENT,
  isHealthWeighted: false,
  drops: [],
};

const SUPPORTED = {
  [ClusterLoadAssignmentSchema.typeName]: ['cluster_name', 'endpoints', 'policy'],
  [ClusterLoadAssignment_PolicySchema.typeName]: ['drop_overloads', 'overprovisioning_factor', 'weighted_priority_health'],
  [ClusterLoadAssignment_Policy_DropOverloadSchema.typeName]: ['category', 'drop_percentage'],
  [LocalityLbEndpointsSchema.typeName]: [
    'locality',
    'metadata',
    'lb_endpoints',
    'load_balancer_endpoints',
    'load_balancing_weight',
    'priority',
    'proximity',
  ],
  [LocalityLbEndpoints_LbEndpointListSchema.typeName]: ['lb_endpoints'],
  [LbEndpointSchema.typeName]: ['endpoint', 'health_status', 'metadata', 'load_balancing_weight'],
  [EndpointSchema.typeName]: ['address', 'health_check_config', 'hostname', 'additional_addresses'],
  [Endpoint_AdditionalAddressSchema.typeName]: ['address'],
  [Endpoint_HealthCheckConfigSchema.typeName]: ['port_value', 'hostname', 'address', 'disable_active_health_check'],
};

const HEALTH: Readonly<Record<number, EndpointHealth>> = {
  [HealthStatus.UNKNOWN]: 'healthy',
  [HealthStatus.HEALTHY]: 'healthy',
  [HealthStatus.DEGRADED]: 'degraded',
};

/** Compiles a load assignment. Throws ConfigError. */
export function compileAssignment(message: ClusterLoadAssignment): AssignmentConfig {
  refuseUnsupportedFields(ClusterLoadAssignmentSchema, message, { supported: SUPPORTED });
  const { policy } = message;
  if (policy?.overprovisioningFactor === 0) throw new ConfigError('policy.overprovisioning_factor', 'must be above 0');
  return {
    ...NO_ENDPOINTS,
    localities: message.endpoints.map((locality, index) => within(`endpoints[${index}]`, () => compileLocality(locality))),
    ...(policy !== undefined && {
      overprovisioningPercent: policy.overprovisioningFactor ?? DEFAULT_OVERPROVISIONING_PERCENT,
      isHealthWeighted: policy.weightedPriorityHealth,
      drops: policy.dropOverloads.map(({ category, dropPercentage }) => ({ category, ratio: ratioOf(dropPercentage) })),
    }),
  };
}

const DENOMINATORS: Readonly<Record<number, number>> = {
  [Denominator.HUNDRED]: 100,
  [Denominator.TEN_THOUSAND]: 10_000,
  [Denominator.MILLION]: 1_000_000,
};

function ratioOf(percent: { readonly numerator: number; readonly denominator: number } | undefined): number {
  return percent === undefined ? 0 : Math.min(1, percent.numerator / (DENOMINATORS[percent.denominator] ?? 100));
}

function compileLocality(message: LocalityLbEndpoints): LocalityConfig {
  const { locality, lbConfig } = message;
  if (message.priority > MAX_PRIORITY) throw new ConfigError('priority', `must be at most ${MAX_PRIORITY}, not ${message.priority}`);
  const isList = lbConfig.case === 'loadBalancerEndpoints';
  const endpoints = isList ? lbConfig.value.lbEndpoints : message.lbEndpoints;
  const field = isList ? 'load_balancer_endpoints.lb_endpoints' : 'lb_endpoints';
  return {
    locality: locality === undefined ? '' : shared(`${locality.region}/${locality.zone}/${locality.subZone}`),
    priority: message.priority,
    weight: message.loadBalancingWeight ?? 0,
    endpoints: endpoints.map((endpoint, index) => within(`${field}[${index}]`, () => compileEndpoint(endpoint))),
  };
}

function compileEndpoint(message: LbEndpoint): EndpointConfig {
  if (message.hostIdentifier.case !== 'endpoint') throw new ConfigError('endpoint', 'is required');
  const endpoint = message.hostIdentifier.value;
  if (message.loadBalancingWeight === 0) throw new ConfigError('load_balancing_weight', 'must be at least 1');
  const metadata = message.metadata?.filterMetadata;
  const workload = metadata?.['istio']?.['workload'];
  return {
    address: within('endpoint', () => compileAddress(endpoint.address)),
    hostname: shared(endpoint.hostname),
    weight: message.loadBalancingWeight ?? 1,
    health: HEALTH[message.healthStatus] ?? 'unhealthy',
    details: compileDetails(endpoint, metadata, message.healthStatus === HealthStatus.DRAINING),
    workload: typeof workload === 'string' ? shared(workload) : '',
  };
}

const NO_ADDRESSES: readonly SocketAddress[] = [];
export const NO_DETAILS: EndpointDetails = {
  transportLabels: undefined,
  lbMetadata: undefined,
  otherMetadata: undefined,
  moreAddresses: NO_ADDRESSES,
  healthCheck: undefined,
  isDraining: false,
};
const DRAINING_DETAILS: EndpointDetails = { ...NO_DETAILS, isDraining: true };

function compileDetails(
  endpoint: EndpointMessage,
  metadata: Readonly<Record<string, JsonObject>> | undefined,
  isDraining: boolean,
): EndpointDetails {
  const transportLabels = metadata?.['envoy.transport_socket_match'];
  const lbMetadata = metadata?.['envoy.lb'];
  const healthCheck = compileHealthCheck(endpoint.healthCheckConfig);
  const moreAddresses = endpoint.additionalAddresses.map(({ address }, index) =>
    within(`endpoint.additional_addresses[${index}]`, () => compileMoreAddress(address)),
  );
  const otherMetadata = otherNamespaces(metadata);
  const isPlain = transportLabels === undefined && lbMetadata === undefined && otherMetadata === undefined;
  if (isPlain && healthCheck === undefined && moreAddresses.length === 0) return isDraining ? DRAINING_DETAILS : NO_DETAILS;
  return sharedDetails({ transportLabels, lbMetadata, otherMetadata, moreAddresses, healthCheck, isDraining });
}

const KEPT_NAMESPACES: ReadonlySet<string> = new Set(['envoy.transport_socket_match', 'envoy.lb']);

/** What is kept nowhere else: of Istio's namespace the workload is, which is all that it has. */
function otherNamespaces(metadata: Readonly<Record<string, JsonObject>> | undefined): EndpointDetails['otherMetadata'] {
  if (metadata === undefined) return undefined;
  const others = Object.entries(metadata).filter(
    ([namespace, values]) => !KEPT_NAMESPACES.has(namespace) && !(namespace === 'istio' && Object.keys(values).join() === 'workload'),
  );
  return others.length === 0 ? undefined : Object.fromEntries(others);
}

function compileMoreAddress(address: Parameters<typeof compileAddress>[0]): SocketAddress {
  const compiled = compileAddress(address);
  if (compiled.kind === 'internal') throw new ConfigError('address', 'must be a socket address or a pipe');
  return compiled;
}

function compileHealthCheck(config: EndpointMessage['healthCheckConfig']): EndpointHealthCheck | undefined {
  if (config === undefined) return undefined;
  if (config.portValue > 65_535) throw new ConfigError('endpoint.health_check_config.port_value', 'must be at most 65535');
  return {
    port: config.portValue === 0 ? undefined : config.portValue,
    address: config.address === undefined ? undefined : within('endpoint.health_check_config', () => compileMoreAddress(config.address)),
    hostname: config.hostname,
    isDisabled: config.disableActiveHealthCheck,
  };
}

const MAX_KNOWN = 4096;
const knownDetails = new Map<string, EndpointDetails>();
const knownTexts = new Map<string, string>();

// Thousands of endpoints carry the same few labels, names and localities: one object stands for all.
function sharedDetails(details: EndpointDetails): EndpointDetails {
  const key = JSON.stringify(details);
  const known = knownDetails.get(key);
  if (known !== undefined) return known;
  if (knownDetails.size >= MAX_KNOWN) knownDetails.clear();
  knownDetails.set(key, details);
  return details;
}

function shared(text: string): string {
  const known = knownTexts.get(text);
  if (known !== undefined) return known;
  if (knownTexts.size >= MAX_KNOWN) knownTexts.clear();
  knownTexts.set(text, text);
  return text;
}
