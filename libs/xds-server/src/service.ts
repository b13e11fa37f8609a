import { fromBinary } from '@bufbuild/protobuf';
import type { ServerDuplexStream, ServiceDefinition } from '@grpc/grpc-js';
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';
import type { OutgoingResponse } from './response.ts';

export type SotwCall = ServerDuplexStream<DiscoveryRequest, OutgoingResponse>;
export type DeltaCall = ServerDuplexStream<DeltaDiscoveryRequest, OutgoingResponse>;

const SERVICE = '/envoy.service.discovery.v3.AggregatedDiscoveryService';

// An OutgoingResponse has what grpc-js uses of the Buffer that a serializer returns.
const passThrough = (response: OutgoingResponse): Buffer => response as unknown as Buffer;

const bidirectional = {
  requestStream: true,
  responseStream: true,
  responseSerialize: passThrough,
  responseDeserialize: neverDeserialized,
} as const;

function neverDeserialized(): never {
  throw new Error('a server does not read responses');
}

function neverSerialized(): never {
  throw new Error('a server does not write requests');
}

/** The aggregated discovery service whose responses are assembled beforehand. */
export const adsServiceDefinition = {
  streamAggregatedResources: {
    ...bidirectional,
    path: `${SERVICE}/StreamAggregatedResources`,
    requestSerialize: neverSerialized,
    requestDeserialize: (bytes: Buffer): DiscoveryRequest => fromBinary(DiscoveryRequestSchema, bytes),
  },
  deltaAggregatedResources: {
    ...bidirectional,
    path: `${SERVICE}/DeltaAggregatedResources`,
    requestSerialize: neverSerialized,
    requestDeserialize: (bytes: Buffer): DeltaDiscoveryRequest => fromBinary(DeltaDiscoveryRequestSchema, bytes),
  },
} satisfies ServiceDefinition;
