import { describe, expect, it } from '@jest/globals';
import { readSettings } from '@mizzen/core';
import { agentSettings } from './agent-settings.ts';
import { detectAddresses } from './own-address.ts';
import { captureSettings, ownPortsOf, parseLabelsFile, podOptionsOf } from './pod-settings.ts';

const SCHEMA = { ...agentSettings, ...captureSettings };

function podOf(argv: readonly string[], env: Record<string, string> = {}) {
  const { values } = readSettings(SCHEMA, { argv, env });
  const pod = podOptionsOf(values, values);
  return { pod, ports: ownPortsOf(values, pod) };
}

describe('the settings of a pod', () => {
  it('are none on a host that others share', () => {
    expect(podOf([])).toEqual({ pod: undefined, ports: { adminPort: 0, statusPort: 0 } });
  });

  it('are read from the environment that the injector gives', () => {
    const { pod, ports } = podOf([], {
      MIZZEN_ADDRESS: '10.244.0.7,fd00::7',
      MIZZEN_INTERCEPTION_MODE: 'REDIRECT',
      MIZZEN_POD_PORTS: '[{"name":"http","containerPort":9080,"protocol":"TCP"},{"containerPort":53,"protocol":"UDP"}]',
      MIZZEN_DNS_CAPTURE: 'true',
      MIZZEN_NODE_NAME: 'node-1',
      MIZZEN_CLUSTER_ID: 'Kubernetes',
      ISTIO_KUBE_APP_PROBERS: '{"/app-health/reviews/livez":{"httpGet":{"path":"/health","port":9080,"scheme":"HTTP"},"timeoutSeconds":3}}',
      ISTIO_PROMETHEUS_ANNOTATIONS: '{"scrape":"true","path":"","port":"9080"}',
      EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true',
      MINIMUM_DRAIN_DURATION: '0s',
    });
    expect(pod).toEqual({
      addresses: ['10.244.0.7', 'fd00::7'],
      interceptionMode: 'REDIRECT',
      clusterId: 'Kubernetes',
      nodeName: 'node-1',
      owner: undefined,
      ports: [
        { name: 'http', containerPort: 9080, protocol: 'TCP' },
        { containerPort: 53, protocol: 'UDP' },
      ],
      readinessPort: 15021,
      metricsPort: 15090,
      dns: { port: 15053, resolvConfFile: '/etc/resolv.conf' },
      appProbes: new Map([['/app-health/reviews/livez', { kind: 'http', port: 9080, path: '/health', isHttps: false, timeoutMs: 3000 }]]),
      prometheus: { port: 9080, path: '/metrics' },
      outlivesProgram: false,
      minimumDrainMs: 0,
    });
    expect(ports).toEqual({ adminPort: 15000, statusPort: 15020 });
  });

  it('of a gateway are those without capture', () => {
    const { values } = readSettings(agentSettings, { argv: ['--address', '10.0.0.1', '--status-port', '0'], env: {} });
    const pod = podOptionsOf(values);
    expect(pod).toMatchObject({ addresses: ['10.0.0.1'], interceptionMode: 'NONE', dns: undefined });
    expect(ownPortsOf(values, pod)).toEqual({ adminPort: 15000, statusPort: 0 });
  });

  it.each([
    [['--interception-mode', 'TPROXY'], '--interception-mode TPROXY is not supported; use REDIRECT'],
    [['--address', 'reviews'], '--address must be an IP address'],
    [['--address', '10.0.0.1', '--pod-ports', '{'], '--pod-ports must be JSON'],
    [['--address', '10.0.0.1', '--pod-ports', '{}'], '--pod-ports must be a JSON list'],
    [['--address', '10.0.0.1', '--pod-ports', '[{"containerPort":"http"}]'], 'containerPort must be a port'],
    [['--address', '10.0.0.1', '--prometheus-app', '99999'], 'port must be a port'],
    [['--address', '10.0.0.1', '--prometheus-app', '15020/metrics'], "port 15020 is the agent's own"],
    [['--address', '10.0.0.1', '--app-probes', '{"x":{}}'], '--app-probes: x: the path must match'],
  ])('%j are refused', (argv, reason) => {
    expect(() => podOf(argv)).toThrow(reason);
  });

  it('name a scraped program in short, or none', () => {
    expect(podOf(['--address', '10.0.0.1', '--prometheus-app', '9080/m']).pod?.prometheus).toEqual({ port: 9080, path: '/m' });
    expect(podOf(['--address', '10.0.0.1', '--prometheus-app', '{"scrape":"false"}']).pod?.prometheus).toBeUndefined();
  });
});

describe('the labels file of the downward API', () => {
  it('is read with its quotes', () => {
    expect(parseLabelsFile('app="reviews"\nexample.com/note="a \\"b\\" \\u003d"\n', 'labels')).toEqual({
      app: 'reviews',
      'example.com/note': 'a "b" =',
    });
  });

  it('with a line that is none is refused, with its place', () => {
    expect(() => parseLabelsFile('app="reviews"\nversion=v1\n', '/etc/istio/pod/labels')).toThrow(
      '--labels-file /etc/istio/pod/labels, line 2: must be KEY="VALUE", not version=v1',
    );
  });
});

describe('detectAddresses', () => {
  const address = (family: 'IPv4' | 'IPv6', text: string, internal = false) =>
    ({ address: text, family, internal, netmask: '', mac: '', cidr: null, ...(family === 'IPv6' && { scopeid: 0 }) }) as never;

  it('takes those that others can reach, IPv4 first', () => {
    expect(
      detectAddresses({
        lo: [address('IPv4', '127.0.0.1', true), address('IPv6', '::1', true)],
        eth0: [address('IPv6', 'fe80::1'), address('IPv6', 'fd00::7'), address('IPv4', '172.18.0.5'), address('IPv4', '169.254.1.1')],
      }),
    ).toEqual(['172.18.0.5', 'fd00::7']);
  });

  it('says what to do where there is none', () => {
    expect(() => detectAddresses({ lo: [address('IPv4', '127.0.0.1', true)] })).toThrow('give the address with --address');
  });
});
