import { fromJson, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { xdsRegistry } from '@mizzen/xds-api';
import { BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { buildBootstrap } from './bootstrap.ts';
import { buildNode } from './node.ts';
import { agentOptions, RecordingProxy } from './testing.ts';

const options = agentOptions({ createProxy: () => new RecordingProxy(), xdsAddress: '' });
const node = buildNode(options, { inbound: new Map(), httpProxy: undefined, admin: 15_000, status: 15_021 });
const input = {
  node,
  adminHost: '127.0.0.1',
  adminPort: 15_000,
  xdsAddress: 'istiod.istio-system.svc:15012',
  telemetryAddress: '127.0.0.1:4317',
};

describe('buildBootstrap', () => {
  it('names the node, the admin port, ADS and the collector, in a form that survives JSON', () => {
    const json = toJson(BootstrapSchema, buildBootstrap(input), { registry: xdsRegistry });
    expect(json).toMatchObject({
      node: { id: 'sidecar~127.0.0.1~reviews-v1-1.default~default.svc.cluster.local', cluster: 'reviews.default', userAgentName: 'mizzen' },
      admin: { address: { socketAddress: { address: '127.0.0.1', portValue: 15_000 } } },
      dynamicResources: { adsConfig: { apiType: 'DELTA_GRPC', grpcServices: [{ envoyGrpc: { clusterName: 'xds-grpc' } }] } },
      statsSinks: [
        { name: 'envoy.stat_sinks.open_telemetry', typedConfig: { grpcService: { envoyGrpc: { clusterName: 'otlp-collector' } } } },
      ],
      staticResources: { clusters: [{ name: 'xds-grpc', type: 'STRICT_DNS' }, { name: 'otlp-collector' }] },
    });
    expect(toJson(BootstrapSchema, fromJson(BootstrapSchema, json, { registry: xdsRegistry }), { registry: xdsRegistry })).toEqual(json);
  });

  it('sends no telemetry where there is no collector', () => {
    const { statsSinks, staticResources } = buildBootstrap({ ...input, telemetryAddress: undefined });
    expect(statsSinks).toEqual([]);
    expect(staticResources?.clusters.map(({ name }) => name)).toEqual(['xds-grpc']);
  });

  it('refuses an address without a port', () => {
    expect(() => buildBootstrap({ ...input, xdsAddress: 'istiod' })).toThrow('"istiod" is not an address: give host:port');
  });
});
