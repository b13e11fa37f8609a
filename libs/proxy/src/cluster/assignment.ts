import type { JsonObject } from '@bufbuild/protobuf';
import { HealthStatus } from '@mizzen/xds-api/envoy/config/core/v3/health_check';
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint';
import {
  EndpointSchema,
  type LbEndpoint,
  LbEndpointSchema,
  LocalityLbEndpointsSchema,
} from '@mizzen/xds-api/envoy/config/endpoint/v3/endpoint_components';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { compileAddress } from '../config/values.ts';
import type { SocketAddress } from '../contract.ts';

/** The endpoints of a cluster, compiled: no message is kept for any of them. */
export interface AssignmentConfig {
  readonly localities: readonly LocalityConfig[];
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
  /** `envoy.transport_socket_match`, which transport socket it needs; undefined without. Equal ones are shared. */
  readonly transportLabels: Readonly<Record<string, unknown>> | undefined;
  /** Istio's `name;namespace;canonical service;canonical revision;cluster id`, or ''. */
  readonly workload: string;
}

export type EndpointHealth = 'healthy' | 'degraded' | 'unhealthy';

const SUPPORTED = {
  [ClusterLoadAssignmentSchema.typeName]: ['cluster_name', 'endpoints', 'policy'],
  [LocalityLbEndpointsSchema.typeName]: ['locality', 'metadata', 'lb_endpoints', 'load_balancing_weight', 'priority', 'proximity'],
  [LbEndpointSchema.typeName]: ['endpoint', 'health_status', 'metadata', 'load_balancing_weight'],
  [EndpointSchema.typeName]: ['address', 'health_check_config', 'hostname'],
};

const HEALTH: Readonly<Record<number, EndpointHealth>> = {
  [HealthStatus.UNKNOWN]: 'healthy',
  [HealthStatus.HEALTHY]: 'healthy',
  [HealthStatus.DEGRADED]: 'degraded',
};

/** Compiles a load assignment. Throws ConfigError. */
export function compileAssignment(message: ClusterLoadAssignment): AssignmentConfig {
  refuseUnsupportedFields(ClusterLoadAssignmentSchema, message, { supported: SUPPORTED });
  return {
    localities: message.endpoints.map((locality, index) => ({
      locality: locality.locality === undefined ? '' : `${locality.locality.region}/${locality.locality.zone}/${locality.locality.subZone}`,
      priority: locality.priority,
      weight: locality.loadBalancingWeight ?? 0,
      endpoints: locality.lbEndpoints.map((endpoint, position) =>
        within(`endpoints[${index}].lb_endpoints[${position}]`, () => compileEndpoint(endpoint)),
      ),
    })),
  };
}

function compileEndpoint(message: LbEndpoint): EndpointConfig {
  if (message.hostIdentifier.case !== 'endpoint') throw new ConfigError('endpoint', 'is required');
  const { address, hostname } = message.hostIdentifier.value;
  const metadata = message.metadata?.filterMetadata;
  const workload = metadata?.['istio']?.['workload'];
  return {
    address: within('endpoint', () => compileAddress(address)),
    hostname,
    weight: message.loadBalancingWeight ?? 1,
    health: HEALTH[message.healthStatus] ?? 'unhealthy',
    transportLabels: shared(metadata?.['envoy.transport_socket_match']),
    workload: typeof workload === 'string' ? workload : '',
  };
}

const knownLabels = new Map<string, JsonObject>();
const MAX_KNOWN_LABELS = 1000;

// Thousands of endpoints carry the same few labels: one object stands for all.
function shared(labels: JsonObject | undefined): JsonObject | undefined {
  if (labels === undefined) return undefined;
  const key = JSON.stringify(labels);
  const known = knownLabels.get(key);
  if (known !== undefined) return known;
  if (knownLabels.size < MAX_KNOWN_LABELS) knownLabels.set(key, labels);
  return labels;
}
