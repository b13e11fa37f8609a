import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import type { StreamInfo } from '@mizzen/telemetry';
import { packAny } from '@mizzen/xds-api';
import { PluginConfigSchema } from '@mizzen/xds-api/stats/config';
import { compileIstioStats } from './istio-stats-config.ts';

const compile = (config: JsonValue) => compileIstioStats(packAny(PluginConfigSchema, fromJson(PluginConfigSchema, config)));

describe('configuration of the standard metrics', () => {
  it('is what the Telemetry API of Istio produces', () => {
    const compiled = compile({
      disableHostHeaderFallback: true,
      tcpReportingDuration: '15s',
      metrics: [
        { name: 'requests_total', dimensions: { host: 'request.host' }, tagsToRemove: ['source_app'] },
        { name: 'istio_request_bytes', drop: true },
      ],
    });
    expect(compiled).toMatchObject({
      disablesHostFallback: true,
      overrides: [
        { metric: 'requests_total', isDropped: false, removedLabels: ['source_app'] },
        { metric: 'request_bytes', isDropped: true },
      ],
    });
    const [label, value] = compiled.overrides[0]?.labels[0] ?? [];
    expect([label, value?.({ authority: 'a.example' } as StreamInfo)]).toEqual(['host', 'a.example']);
  });

  it('has a key by which equal ones are known', () => {
    expect(compile({ disableHostHeaderFallback: true }).key).toBe(compile({ disableHostHeaderFallback: true }).key);
    expect(compile({ disableHostHeaderFallback: true }).key).not.toBe(compile({}).key);
  });

  it.each<readonly [JsonValue, RegExp]>([
    [{ metrics: [{}, { dimensions: { x: 'request.nothing' } }] }, /^metrics\[1\]\.dimensions\["x"\]: request\.nothing is not an attribute/],
    [{ metrics: [{ match: 'true' }] }, /^metrics\[0\]\.match: is not supported/],
    [{ definitions: [{ name: 'x' }] }, /^definitions: is not supported/],
    [{ tcpReportingDuration: '1s' }, /^tcp_reporting_duration: must be 5s or longer/],
  ])('refuses %j', (config, reason) => {
    expect(() => compile(config)).toThrow(reason);
  });
});
