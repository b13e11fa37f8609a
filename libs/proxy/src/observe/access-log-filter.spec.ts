import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import type { StreamInfo } from '@mizzen/telemetry';
import { AccessLogFilterSchema } from '@mizzen/xds-api/envoy/config/accesslog/v3/accesslog';
import { LayeredRuntimeSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { RuntimeValues } from '../config/runtime-values.ts';
import { compileAccessLogFilter } from './access-log-filter.ts';

const runtime = new RuntimeValues(
  fromJson(LayeredRuntimeSchema, {
    layers: [
      { name: 'static', staticLayer: { log: { share: 100, code: 400, none: { numerator: 0 } } } },
      { name: 'admin', adminLayer: {} },
    ],
  }),
);

const BASE = {
  requestHeader: () => undefined,
  startMonotonicMs: 100,
  endMonotonicMs: 350,
  responseCode: 200,
  flags: [],
  protocol: 'HTTP/1.1',
  requestId: 'id',
  grpcStatus: '',
};

function matches(filter: JsonValue, info: Partial<StreamInfo> = {}): boolean {
  const compiled = compileAccessLogFilter(fromJson(AccessLogFilterSchema, filter), { runtime, random: () => 0.5 });
  return compiled({ ...BASE, ...info } as StreamInfo);
}

const code = (op: string, value: object): JsonValue => ({ statusCodeFilter: { comparison: { op, value } } }) as JsonValue;

describe('access log filters', () => {
  const cases: readonly (readonly [JsonValue, Partial<StreamInfo>, boolean])[] = [
    [code('GE', { defaultValue: 500 }), { responseCode: 503 }, true],
    [code('GE', { defaultValue: 500 }), { responseCode: 404 }, false],
    [code('GE', { defaultValue: 500, runtimeKey: 'log.code' }), { responseCode: 404 }, true],
    [code('EQ', { defaultValue: 200 }), {}, true],
    [{ durationFilter: { comparison: { op: 'LE', value: { defaultValue: 250, runtimeKey: 'x' } } } }, {}, true],
    [{ durationFilter: { comparison: { op: 'LE', value: { defaultValue: 249, runtimeKey: 'x' } } } }, {}, false],
    [{ notHealthCheckFilter: {} }, { isHealthCheck: true }, false],
    [{ traceableFilter: {} }, { isTraced: true }, true],
    [{ traceableFilter: {} }, {}, false],
    [{ runtimeFilter: { runtimeKey: 'log.share' } }, {}, true],
    [{ runtimeFilter: { runtimeKey: 'log.none' } }, {}, false],
    [{ runtimeFilter: { runtimeKey: 'x', percentSampled: { numerator: 51 }, useIndependentRandomness: true } }, {}, true],
    [{ runtimeFilter: { runtimeKey: 'x', percentSampled: { numerator: 50 }, useIndependentRandomness: true } }, {}, false],
    [{ andFilter: { filters: [code('EQ', { defaultValue: 200 }), { traceableFilter: {} }] } }, {}, false],
    [{ orFilter: { filters: [code('EQ', { defaultValue: 200 }), { traceableFilter: {} }] } }, {}, true],
    [
      { headerFilter: { header: { name: 'X-Log', stringMatch: { exact: 'yes' } } } },
      { requestHeader: (name) => (name === 'x-log' ? 'yes' : undefined) },
      true,
    ],
    [{ headerFilter: { header: { name: 'X-Log', presentMatch: true } } }, {}, false],
    [{ responseFlagFilter: { flags: ['UF', 'NR'] } }, { flags: ['noRouteFound'] }, true],
    [{ responseFlagFilter: {} }, { flags: ['noRouteFound'] }, true],
    [{ responseFlagFilter: {} }, {}, false],
    [{ grpcStatusFilter: { statuses: ['UNAVAILABLE'] } }, { grpcStatus: '14' }, true],
    [{ grpcStatusFilter: { statuses: ['UNAVAILABLE'] } }, { responseCode: 503 }, true],
    [{ grpcStatusFilter: { statuses: ['OK'], exclude: true } }, { grpcStatus: '0' }, false],
    [
      { metadataFilter: { matcher: { filter: 'n', path: [{ key: 'log' }], value: { boolMatch: true } } } },
      { dynamicMetadata: new Map([['n', { log: false }]]) },
      false,
    ],
    [{ metadataFilter: { matcher: { filter: 'n', path: [{ key: 'log' }], value: { boolMatch: true } } } }, {}, true],
    [
      { metadataFilter: { matcher: { filter: 'n', path: [{ key: 'log' }], value: { boolMatch: true } }, matchIfKeyNotFound: false } },
      {},
      false,
    ],
    [{ logTypeFilter: { types: ['DownstreamEnd'] } }, {}, true],
    [{ logTypeFilter: { types: ['DownstreamEnd'] } }, { protocol: '' }, false],
  ];
  it.each(cases)('%j of %j: %s', (filter, info, expected) => {
    expect(matches(filter, info)).toBe(expected);
  });

  it.each<readonly [JsonValue, RegExp]>([
    [{ extensionFilter: { name: 'cel' } }, /extension_filter: cel \(an expression\) is not supported/],
    [{ andFilter: { filters: [{ traceableFilter: {} }] } }, /and_filter\.filters: needs two filters/],
    [{ orFilter: { filters: [{ traceableFilter: {} }, {}] } }, /or_filter\.filters\[1\]: needs one filter/],
    [{ responseFlagFilter: { flags: ['XX'] } }, /response_flag_filter\.flags: XX is a flag/],
    [{ runtimeFilter: {} }, /runtime_filter\.runtime_key: is required/],
  ])('refuse %j', (filter, reason) => {
    expect(() => matches(filter)).toThrow(reason);
  });
});
