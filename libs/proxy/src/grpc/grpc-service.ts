import { durationMs, type Field, refuseFields } from '@mizzen/matching';
import type { GrpcService } from '@mizzen/xds-api/envoy/config/core/v3/grpc_service';

/** Where a gRPC service is called: a cluster of this proxy. */
export interface GrpcTarget {
  readonly cluster: string;
  readonly authority: string;
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** undefined: what calls it has its own default. */
  readonly timeoutMs: number | undefined;
}

/** Compiles a GrpcService. Only services behind a cluster (envoy_grpc) are known. */
export function compileGrpcService(message: GrpcService | undefined, field: Field): GrpcTarget {
  const target = message?.targetSpecifier;
  const metadata = (message?.initialMetadata ?? []).map(({ key, value, rawValue }, index) => {
    if (key === '') field.child('initial_metadata', index).child('key').reject('is required');
    return [key.toLowerCase(), rawValue.length > 0 ? Buffer.from(rawValue).toString('latin1') : value] as const;
  });
  if (message !== undefined) refuseFields(field, message, ['retryPolicy']);
  if (target?.case !== 'envoyGrpc') {
    field.reject(target?.case === 'googleGrpc' ? 'google_grpc is not supported by this proxy; use envoy_grpc' : 'needs envoy_grpc');
    return { cluster: '', authority: '', metadata, timeoutMs: undefined };
  }
  const at = field.child('envoy_grpc');
  refuseFields(at, target.value, ['retryPolicy']);
  if (target.value.clusterName === '') at.child('cluster_name').reject('is required');
  const { clusterName: cluster, authority } = target.value;
  return { cluster, authority, metadata, timeoutMs: durationMs(message?.timeout) };
}
