import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { KubeObject } from '../objects.ts';
import { renderInstallation } from '../render.ts';
import { PROFILES, valuesOf, type Yaml } from '../values.ts';

const chart = path.resolve(import.meta.dirname, '../../../../deploy/helm/mizzen');
const helm = findHelm();
const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-chart-'));
afterAll(() => rmSync(folder, { recursive: true }));

const CHANGES: readonly (readonly [name: string, changes: Yaml])[] = [
  ['nothing', {}],
  [
    'every kind of value',
    {
      hub: 'registry.example.com/mesh',
      tag: '9.9.9',
      imagePullSecrets: [{ name: 'registry' }],
      trustDomain: 'example.com',
      nodeSelector: { 'kubernetes.io/os': 'linux', pool: 'yes' },
      tolerations: [{ key: 'infra', operator: 'Exists' }],
      networkPolicies: { enabled: false },
      meshConfig: { outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' }, accessLogFile: '/dev/stdout' },
      meshNetworks: { vm: { endpoints: [{ fromCidr: '10.9.0.0/16' }] } },
      injection: { proxy: { dnsCapture: true }, clusterId: 'other' },
      injectionTemplates: { big: { metadata: { labels: { size: 'large' } } } },
      controlPlane: { replicas: 5, resources: { limits: { memory: '2Gi' } } },
      ingressGateway: {
        labels: { edge: 'yes' },
        strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
        containerPorts: [{ containerPort: 8080, hostPort: 80 }],
        service: {
          type: 'NodePort',
          annotations: { 'example.com/lb': 'internal' },
          spec: { externalTrafficPolicy: 'Local' },
          ports: [{ port: 80, nodePort: 30080 }],
        },
      },
      egressGateway: { enabled: true },
    },
  ],
  ['another revision', { revision: 'canary' }],
];

const describeWithHelm = spawnSync(helm, ['version']).status === 0 ? describe : describe.skip;

describeWithHelm('the Helm chart (needs helm)', () => {
  it.each(PROFILES.flatMap((profile) => CHANGES.map(([name, changes]) => ({ profile, name, changes }))))(
    'renders what the installation does: profile $profile with $name',
    ({ profile, changes }) => {
      const given = path.join(folder, 'values.yaml');
      writeFileSync(given, stringify(changes, { version: '1.1' }));
      const rendered = template(['-f', path.join(chart, `profiles/${profile}.yaml`), '-f', given]);
      const wanted = renderInstallation(valuesOf(profile, changes)).filter(({ kind }) => kind !== 'Namespace');
      expect(normalised(rendered)).toEqual(normalised(wanted));
    },
  );

  it('passes lint', () => {
    const { status, stdout } = spawnSync(helm, ['lint', chart], { encoding: 'utf8' });
    expect(stdout).toContain('0 chart(s) failed');
    expect(status).toBe(0);
  });

  it('refuses a value that there is not', () => {
    const { status, stderr } = run(['--set', 'controlPlane.replica=3']);
    expect(status).not.toBe(0);
    expect(stderr).toContain('replica');
  });
});

function template(args: readonly string[]): readonly KubeObject[] {
  const { status, stdout, stderr } = run(args);
  if (status !== 0) throw new Error(stderr);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as KubeObject | null)
    .filter((object) => object !== null);
}

function run(args: readonly string[]) {
  const command = ['template', 'mizzen', chart, '--namespace', 'istio-system', '--kube-version', '1.34.0', ...args];
  return spawnSync(helm, command, { encoding: 'utf8' });
}

/** By kind and name; text in ConfigMaps as the YAML that it is. */
function normalised(objects: readonly KubeObject[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    objects.map((object) => [
      `${object.kind} ${object.metadata.name}`,
      withParsedData(JSON.parse(JSON.stringify(object, withoutEmptyClass))),
    ]),
  );
}

/** The chart writes '' where the code leaves it out; Kubernetes reads both as no class. */
function withoutEmptyClass(key: string, value: unknown): unknown {
  return key === 'priorityClassName' && value === '' ? undefined : value;
}

function withParsedData(object: KubeObject): unknown {
  if (object.kind !== 'ConfigMap') return object;
  const data = Object.entries(object['data'] as Readonly<Record<string, string>>);
  return { ...object, data: Object.fromEntries(data.map(([key, text]) => [key, parse(text)])) };
}

/** HELM, or the cluster's own build, or the one of the PATH. */
function findHelm(): string {
  const built = path.join(homedir(), '.cache/mesh-cluster/bin/helm');
  return process.env['HELM'] ?? (existsSync(built) ? built : 'helm');
}
