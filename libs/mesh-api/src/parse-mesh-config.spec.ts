import { describe, expect, it } from '@jest/globals';
import { formatPath } from '@mizzen/core';
import { defaultMeshConfig } from './mesh-config/mesh-config.ts';
import { parseMeshConfig } from './parse-mesh-config.ts';

describe('parseMeshConfig', () => {
  it.each(['', '# nothing\n', '{}'])('gives the defaults of Istio for %j', (text) => {
    const { meshConfig, diagnostics } = parseMeshConfig(text, 'mesh.yaml');
    expect(diagnostics).toEqual([]);
    expect(meshConfig).toEqual(defaultMeshConfig());
    expect(meshConfig).toMatchObject({
      trustDomain: 'cluster.local',
      enableAutoMtls: true,
      connectTimeout: '10s',
      accessLogFile: '',
      outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
    });
  });

  it('lays what is written over the defaults, field by field', () => {
    const text = `
accessLogFile: /dev/stdout
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
defaultConfig:
  holdApplicationUntilProxyStarts: true
  tracing: {sampling: 100}
extensionProviders:
- name: otel
  opentelemetry: {service: collector.istio-system.svc.cluster.local, port: 4317}
- name: envoy
  envoyFileAccessLog: {path: /tmp/log}
defaultProviders: {tracing: [otel]}
`;
    const { meshConfig, diagnostics } = parseMeshConfig(text, 'mesh.yaml');
    expect(diagnostics.map(({ path }) => formatPath(path ?? []))).toEqual([
      'defaultConfig.holdApplicationUntilProxyStarts',
      'extensionProviders[1].envoyFileAccessLog',
      'extensionProviders[0].opentelemetry.service',
    ]);
    expect(meshConfig).toMatchObject({
      accessLogFile: '/dev/stdout',
      trustDomain: 'cluster.local',
      outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' },
      defaultConfig: { holdApplicationUntilProxyStarts: true, drainDuration: '45s', tracing: { sampling: 100 } },
      defaultProviders: { tracing: ['otel'], metrics: ['prometheus'] },
    });
    expect(meshConfig?.extensionProviders.map(({ name }) => name)).toEqual(['prometheus', 'stackdriver', 'otel', 'envoy']);
  });

  it('warns of an unknown field and uses the rest', () => {
    const { meshConfig, diagnostics } = parseMeshConfig('trustDomain: a.example\naccesLogFile: x\n', 'mesh.yaml');
    expect(meshConfig?.trustDomain).toBe('a.example');
    expect(diagnostics).toMatchObject([
      {
        code: 'unknown-field',
        severity: 'warning',
        position: { line: 2 },
        message: expect.stringContaining('did you mean "accessLogFile"?'),
      },
    ]);
  });

  it('names with its line whatever nothing reads, and uses the rest', () => {
    const text = 'trustDomain: a.example\nh2UpgradePolicy: UPGRADE\ndefaultTrafficPolicy:\n  connectionPool: {tcp: {maxConnections: 1}}\n';
    const { meshConfig, diagnostics } = parseMeshConfig(text, 'mesh.yaml');
    expect(meshConfig?.trustDomain).toBe('a.example');
    expect(diagnostics).toMatchObject([
      { code: 'unsupported-field', severity: 'warning', path: ['h2UpgradePolicy'], position: { file: 'mesh.yaml', line: 2 } },
      { code: 'unsupported-field', severity: 'warning', path: ['defaultTrafficPolicy'], position: { file: 'mesh.yaml', line: 3 } },
    ]);
  });

  it('says that a mode is treated as another', () => {
    const { diagnostics } = parseMeshConfig('outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}', 'mesh.yaml');
    expect(diagnostics).toMatchObject([{ code: 'unsupported-field', path: ['outboundTrafficPolicy', 'mode'] }]);
  });

  it.each([
    { name: 'a wrong type', text: 'enableAutoMtls: maybe\n', line: 1 },
    { name: 'a duration without a unit', text: 'trustDomain: a\nconnectTimeout: 10\n', line: 2 },
    { name: 'a list', text: '- a\n', line: 1 },
    { name: 'two documents', text: 'trustDomain: a\n---\ntrustDomain: b\n', line: 3 },
    { name: 'YAML that does not parse', text: 'a: [\n', line: 2 },
  ])('refuses $name with its line', ({ text, line }) => {
    const { meshConfig, diagnostics } = parseMeshConfig(text, 'mesh.yaml');
    expect(meshConfig).toBeUndefined();
    expect(diagnostics).toMatchObject([{ severity: 'error', position: { file: 'mesh.yaml', line } }]);
  });

  it('knows what decides about injection where there are pods', () => {
    const text = 'defaultConfig: { statusPort: 15020, concurrency: 2 }';
    const warned = (home: 'local' | 'kubernetes'): string[] =>
      parseMeshConfig(text, 'mesh.yaml', { home }).diagnostics.map(({ path = [] }) => path.join('.'));
    expect(warned('kubernetes')).toEqual(['defaultConfig.concurrency']);
    expect(warned('local')).toEqual(['defaultConfig.statusPort', 'defaultConfig.concurrency']);
  });
});
