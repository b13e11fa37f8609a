import { describe, expect, it } from '@jest/globals';
import { defaultMeshConfig } from '@mizzen/mesh-api';
import { injectPod } from './inject-pod.ts';
import { DEFAULT_VALUES, parseInjectorConfig } from './injector-config.ts';

describe('the injector’s configuration', () => {
  it('has a default for everything', () => {
    expect(parseInjectorConfig({})).toEqual({ config: { values: DEFAULT_VALUES, templates: new Map() }, diagnostics: [] });
  });

  it('takes what is written, field by field', () => {
    const { config, diagnostics } = parseInjectorConfig({
      values:
        'tag: "2"\nnativeSidecars: false\nproxy: { readinessPeriodSeconds: 3, resources: { requests: { cpu: 1m } } }\ncustom: { a: [1] }',
    });
    expect(diagnostics).toEqual([]);
    expect(config?.values).toEqual({
      ...DEFAULT_VALUES,
      tag: '2',
      nativeSidecars: 'false',
      proxy: { ...DEFAULT_VALUES.proxy, readinessPeriodSeconds: 3, resources: { requests: { cpu: '1m' } } },
      custom: { a: [1] },
    });
  });

  it.each([
    ['tag: 2', '"tag" must be a string, but is a number'],
    ['proxy: { readinessPeriodSeconds: soon }', '"proxy.readinessPeriodSeconds" must be a number, but is a string'],
    ['defaultTemplates: sidecar', '"defaultTemplates" must be a list, but is a string'],
    ['policy: off-and-on', '"policy" must be one of enabled, disabled, but is "off-and-on"'],
    ['nativeSidecars: maybe', '"nativeSidecars" must be one of auto, true, false, but is "maybe"'],
    ['imagePullPolicy: Sometimes', '"imagePullPolicy" must be one of Always, IfNotPresent, Never, but is "Sometimes"'],
    ['- a', '"values" must be one object'],
  ])('refuses %s', (values, message) => {
    const { config, diagnostics } = parseInjectorConfig({ values });
    expect(config).toBeUndefined();
    expect(diagnostics.map((diagnostic) => diagnostic.message)).toEqual([message]);
  });

  it('warns of a field that it does not know, with the one that was meant', () => {
    const { config, diagnostics } = parseInjectorConfig({ values: 'tga: "1"\nproxy: { logLevl: info }' });
    expect(config?.values.tag).toBe(DEFAULT_VALUES.tag);
    expect(diagnostics.map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
      'warning: the injector has no value "tga"; did you mean "tag"?',
      'warning: the injector has no value "proxy.logLevl"; did you mean "logLevel"?',
    ]);
  });
});

describe('templates of the user’s own', () => {
  it.each([
    ['sidecar: {}', /cannot be replaced/],
    ['mine: |\n  spec:\n    containers: {{ .Values }}', /is a Go template/],
    ['mine: text', /is a text/],
    ['mine: [1]', /must be a part of a pod/],
    ['mine: { containers: [] }', /has a field "containers"; a template has metadata and spec/],
  ])('refuse %s', (templates, message) => {
    const { config, diagnostics } = parseInjectorConfig({ templates });
    expect(config).toBeUndefined();
    expect(diagnostics[0]?.message).toMatch(message);
  });

  it('refuse the pod where a placeholder has no value, and say which', () => {
    const { config } = parseInjectorConfig({ templates: `mine: { metadata: { labels: { a: '\${pod.labels.nothing}' } } }` });
    if (!config) throw new Error('the template is valid');
    const pod = { metadata: { annotations: { 'inject.istio.io/templates': 'mine' } }, spec: { containers: [] } };
    const injection = injectPod({ pod, namespace: 'n', config, meshConfig: defaultMeshConfig(), clusterHasNativeSidecars: true });
    expect(injection).toEqual({
      outcome: 'refused',
      message: `template "mine": \${pod.labels.nothing} has no value; write \${pod.labels.nothing:-default} where it may be absent`,
    });
  });
});
