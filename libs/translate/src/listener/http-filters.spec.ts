import { describe, expect, it } from '@jest/globals';
import { type HttpFilterContext, httpFilters } from './http-filters.ts';

function namesOf(context: HttpFilterContext): (string | undefined)[] {
  return httpFilters(context).map(({ name }) => name);
}

describe('HTTP filters', () => {
  it('come in the order of Istio, and lead calls of browsers to gRPC services only where a port declares them', () => {
    const inbound = { role: 'inbound', client: 'mizzen', protocol: 'grpc-web' } as const;
    const names = [
      'istio.metadata_exchange',
      'envoy.filters.http.grpc_web',
      'envoy.filters.http.grpc_stats',
      'envoy.filters.http.fault',
      'envoy.filters.http.cors',
      'istio.stats',
      'envoy.filters.http.router',
    ];
    expect(namesOf(inbound)).toEqual(names);
    expect(namesOf({ ...inbound, protocol: 'grpc' })).toEqual(names.filter((name) => name !== 'envoy.filters.http.grpc_web'));
    expect(namesOf({ ...inbound, protocol: undefined })).not.toContain('envoy.filters.http.grpc_web');
  });

  it('are for a stock Envoy those that it knows', () => {
    expect(namesOf({ role: 'gateway', client: 'envoy', protocol: 'grpc-web' })).toEqual([
      'envoy.filters.http.grpc_web',
      'envoy.filters.http.grpc_stats',
      'envoy.filters.http.fault',
      'envoy.filters.http.cors',
      'envoy.filters.http.router',
    ]);
  });
});
