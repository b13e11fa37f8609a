import { describe, expect, it } from '@jest/globals';
import { defaultMeshConfig, fillMeshConfig } from '@mizzen/mesh-api';
import fc from 'fast-check';
import { type Injection, type InjectionRequest, injectPod } from './inject-pod.ts';
import { DEFAULT_INJECTOR_CONFIG, DEFAULT_VALUES, type InjectorValues } from './injector-config.ts';
import { type Container, type Pod, PROXY_CONTAINER } from './pod.ts';
import { applyPatch } from './testing/apply-patch.ts';

const POD: Pod = { metadata: { name: 'app' }, spec: { containers: [{ name: 'app', image: 'app' }] } };

function requestFor(pod: Pod, changed: Partial<InjectionRequest> = {}): InjectionRequest {
  return {
    pod,
    namespace: 'default',
    config: DEFAULT_INJECTOR_CONFIG,
    meshConfig: defaultMeshConfig(),
    clusterHasNativeSidecars: true,
    ...changed,
  };
}

function inject(pod: Pod, values: Partial<InjectorValues> = {}): Injection {
  return injectPod(requestFor(pod, { config: { ...DEFAULT_INJECTOR_CONFIG, values: { ...DEFAULT_VALUES, ...values } } }));
}

function annotated(annotations: Record<string, string>, labels: Record<string, string> = {}): Pod {
  return { ...POD, metadata: { name: 'app', annotations, labels } };
}

function podOf(injection: Injection): Pod {
  if (injection.outcome !== 'injected') throw new Error(JSON.stringify(injection));
  return injection.pod;
}

function findContainer(pod: Pod, name: string): Container | undefined {
  return [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].find((container) => container.name === name);
}

describe('the decision', () => {
  const label = (value: string): Pod => annotated({}, { 'sidecar.istio.io/inject': value });
  const selected = { matchLabels: { app: 'chosen' } };

  it.each<[string, Pod, Partial<InjectorValues>, string]>([
    ['a pod that says nothing, by the policy', POD, {}, 'injected'],
    ['a pod that says nothing, with injection off', POD, { policy: 'disabled' }, 'skipped'],
    ['the label "true", with injection off', label('true'), { policy: 'disabled' }, 'injected'],
    ['the label "false"', label('false'), {}, 'skipped'],
    ['the annotation "false"', annotated({ 'sidecar.istio.io/inject': 'false' }), {}, 'skipped'],
    [
      'the label before the annotation',
      annotated({ 'sidecar.istio.io/inject': 'false' }, { 'sidecar.istio.io/inject': 'true' }),
      {},
      'injected',
    ],
    ['another word, as if nothing was said', label('yes'), { policy: 'disabled' }, 'skipped'],
    ['a neverInjectSelector', annotated({}, { app: 'chosen' }), { neverInjectSelector: [selected] }, 'skipped'],
    [
      'an alwaysInjectSelector, with injection off',
      annotated({}, { app: 'chosen' }),
      { alwaysInjectSelector: [selected], policy: 'disabled' },
      'injected',
    ],
    [
      'never before always',
      annotated({}, { app: 'chosen' }),
      { neverInjectSelector: [selected], alwaysInjectSelector: [selected] },
      'skipped',
    ],
    [
      'the label before a neverInjectSelector',
      annotated({}, { app: 'chosen', 'sidecar.istio.io/inject': 'true' }),
      { neverInjectSelector: [selected] },
      'injected',
    ],
    ['an empty selector, which fits nothing', POD, { neverInjectSelector: [{}] }, 'injected'],
  ])('follows %s', (_, pod, values, outcome) => {
    expect(inject(pod, values).outcome).toBe(outcome);
  });

  it.each(['In', 'NotIn', 'Exists', 'DoesNotExist'])('reads selectors with %s', (operator) => {
    const neverInjectSelector = [{ matchExpressions: [{ key: 'app', operator, values: ['chosen'] }] }];
    const skips = (labels: Record<string, string>): boolean => inject(annotated({}, labels), { neverInjectSelector }).outcome === 'skipped';
    const isPositive = operator === 'In' || operator === 'Exists';
    expect([skips({ app: 'chosen' }), skips({})]).toEqual([isPositive, !isPositive]);
  });

  it('leaves the namespaces of Kubernetes alone', () => {
    expect(injectPod(requestFor(POD, { namespace: 'kube-system' }))).toMatchObject({ outcome: 'skipped' });
  });

  it('warns of a pod on the network of its host, whatever it asks for', () => {
    const pod = { ...label('true'), spec: { ...POD.spec, hostNetwork: true } };
    expect(inject(pod)).toEqual({
      outcome: 'skipped',
      reason: 'the pod uses the network of its host',
      warnings: ['the pod uses the network of its host, where its traffic cannot be captured: it gets no sidecar'],
    });
  });

  it('does not take a copied status for an injection', () => {
    const pod = annotated({ 'sidecar.istio.io/status': '{"containers":["istio-proxy"]}' });
    expect(inject(pod).outcome).toBe('injected');
  });
});

describe('annotations', () => {
  it.each([
    ['sidecar.istio.io/interceptionMode', 'TPROXY', /cannot be TPROXY/],
    ['sidecar.istio.io/interceptionMode', 'IPTABLES', /must be REDIRECT or NONE/],
    ['status.sidecar.istio.io/port', '70000', /must be a port/],
    ['readiness.status.sidecar.istio.io/periodSeconds', '1s', /must be a whole number/],
    ['traffic.sidecar.istio.io/includeOutboundIPRanges', '10.0.0.0/33', /must be IP ranges/],
    ['traffic.sidecar.istio.io/excludeOutboundIPRanges', '*', /must be IP ranges/],
    ['traffic.sidecar.istio.io/includeInboundPorts', 'http', /must be ports/],
    ['traffic.sidecar.istio.io/excludeOutboundPorts', '0', /must be ports/],
    ['traffic.sidecar.istio.io/excludeInterfaces', 'a/b', /names of network interfaces/],
    ['prometheus.istio.io/merge-metrics', 'maybe', /must be true or false/],
    ['sidecar.istio.io/proxyCPU', 'much', /must be a quantity/],
    ['sidecar.istio.io/userVolume', '{', /must be JSON/],
    ['proxy.istio.io/config', 'concurrency: many', /concurrency: must be a whole number/],
    ['proxy.istio.io/config', '[', /proxy\.istio\.io\/config/],
    ['inject.istio.io/templates', 'sidecar,waypoint', /no injection template "waypoint"; there are sidecar, gateway/],
    ['prometheus.io/port', '15020x', /no port/],
    ['prometheus.io/port', '15090', /one of the sidecar's own/],
  ])('%s: "%s" refuses the pod', (name, value, message) => {
    const injection = inject(annotated({ [name]: value }));
    expect(injection.outcome).toBe('refused');
    expect(injection.outcome === 'refused' && injection.message).toMatch(message);
  });

  it('tells every mistake at once', () => {
    const injection = inject(annotated({ 'sidecar.istio.io/proxyCPU': 'a', 'sidecar.istio.io/proxyMemory': 'b' }));
    expect(injection.outcome === 'refused' && injection.message.split('; ')).toHaveLength(2);
  });

  it('warns by name of those that Istio has and that have no effect', () => {
    const injection = inject(annotated({ 'sidecar.istio.io/bootstrapOverride': 'x', 'proxy.istio.io/config': 'unknownThing: 1' }));
    expect(injection.outcome === 'injected' && injection.warnings).toEqual([
      'annotation sidecar.istio.io/bootstrapOverride has no effect: the bootstrap cannot be overridden',
      expect.stringContaining('unknownThing'),
    ]);
  });

  it.each([
    ['"true"', 'true', false, 'initContainers'],
    ['"false"', 'false', true, 'containers'],
  ])('nativeSidecar: %s decides before the cluster', (_, value, clusterHasNativeSidecars, place) => {
    const pod = annotated({ 'sidecar.istio.io/nativeSidecar': value });
    const { spec } = podOf(injectPod(requestFor(pod, { clusterHasNativeSidecars })));
    expect(spec?.[place as 'containers']?.map(({ name }) => name)).toContain(PROXY_CONTAINER);
  });

  it('a status port of 0 leaves probes, metrics and readiness alone', () => {
    const probe = { httpGet: { port: 80 } };
    const pod: Pod = {
      ...annotated({ 'status.sidecar.istio.io/port': '0' }),
      spec: { containers: [{ name: 'app', livenessProbe: probe }] },
    };
    const injected = podOf(inject(pod));
    expect(findContainer(injected, 'app')?.livenessProbe).toEqual(probe);
    expect(findContainer(injected, PROXY_CONTAINER)?.readinessProbe).toBeUndefined();
    expect(injected.metadata?.annotations?.['prometheus.io/port']).toBeUndefined();
  });

  it('says "no" to metrics where the pod does', () => {
    const injected = podOf(inject(annotated({ 'prometheus.io/scrape': 'false', 'prometheus.io/port': '80' })));
    expect(injected.metadata?.annotations).toMatchObject({ 'prometheus.io/scrape': 'false', 'prometheus.io/port': '80' });
  });
});

describe('probes', () => {
  const probed = (probe: unknown): Pod => ({ spec: { containers: [{ name: 'app', livenessProbe: probe }] } }) as Pod;

  it.each([
    ['that run a command', { exec: { command: ['true'] } }],
    ['on a named port that the container does not have', { httpGet: { port: 'nothing' } }],
    ['that are rewritten already', { httpGet: { path: '/app-health/app/livez', port: 15020 } }],
  ])('%s stay', (_, probe) => {
    const injected = podOf(inject(probed(probe)));
    expect(findContainer(injected, 'app')?.livenessProbe).toEqual(probe);
    expect(findContainer(injected, PROXY_CONTAINER)?.env?.map(({ name }) => name)).not.toContain('ISTIO_KUBE_APP_PROBERS');
  });

  it('keep their thresholds and headers', () => {
    const httpHeaders = [{ name: 'host', value: 'app' }];
    const injected = podOf(
      inject(probed({ httpGet: { port: '8080', httpHeaders, scheme: 'HTTPS' }, periodSeconds: 7, failureThreshold: 2 })),
    );
    expect(findContainer(injected, 'app')?.livenessProbe).toEqual({
      httpGet: { port: 15020, path: '/app-health/app/livez', httpHeaders },
      periodSeconds: 7,
      failureThreshold: 2,
    });
  });
});

describe('whatever it is given', () => {
  const text = fc.oneof(fc.string(), fc.constantFrom('true', 'false', '0', '15020', '{}', '*', '10.0.0.0/8'));
  const annotation = fc.oneof(
    fc.constantFrom(
      'sidecar.istio.io/inject',
      'sidecar.istio.io/status',
      'inject.istio.io/templates',
      'proxy.istio.io/config',
      'sidecar.istio.io/userVolume',
      'sidecar.istio.io/userVolumeMount',
      'prometheus.io/port',
      'prometheus.istio.io/scrape-targets',
      'traffic.sidecar.istio.io/includeInboundPorts',
    ),
    fc.string(),
  );
  const container = fc.record({ name: fc.constantFrom('app', 'istio-proxy', 'istio-init'), image: fc.constantFrom('app', 'auto') });
  const pod = fc.record(
    {
      metadata: fc.record({ annotations: fc.dictionary(annotation, text), labels: fc.dictionary(fc.string(), text) }, { requiredKeys: [] }),
      spec: fc.record(
        { containers: fc.array(container), initContainers: fc.array(container), hostNetwork: fc.boolean() },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  );

  it('answers, by a patch that is true, and changes nothing the second time', () => {
    fc.assert(
      fc.property(pod, fc.boolean(), (given, clusterHasNativeSidecars) => {
        const request = requestFor(given as Pod, { clusterHasNativeSidecars });
        const injection = injectPod(request);
        if (injection.outcome !== 'injected') return;
        expect(applyPatch(given, injection.patch)).toEqual(JSON.parse(JSON.stringify(injection.pod)));
        const again = injectPod({ ...request, pod: injection.pod });
        expect(again).toMatchObject({ outcome: 'skipped' });
      }),
      { numRuns: 300 },
    );
  });

  it.each([[undefined], [null], ['text'], [{ metadata: null, spec: null }], [{ spec: { containers: 'x' } }]])(
    'does not throw at %j',
    (given) => {
      expect(() => injectPod(requestFor(given as unknown as Pod))).not.toThrow();
    },
  );
});

it('takes the interception mode and the hold of the mesh', () => {
  const meshConfig = fillMeshConfig({ defaultConfig: { interceptionMode: 'NONE', holdApplicationUntilProxyStarts: true } });
  const { spec } = podOf(injectPod(requestFor(POD, { meshConfig, clusterHasNativeSidecars: false })));
  expect(spec?.containers?.map(({ name }) => name)).toEqual([PROXY_CONTAINER, 'app']);
  expect(spec?.initContainers).toEqual([]);
  expect(spec?.containers?.[0]?.lifecycle).toEqual({ postStart: { exec: { command: ['node', '/app/main.mjs', 'wait'] } } });
});
