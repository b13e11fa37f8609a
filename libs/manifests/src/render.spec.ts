import { describe, expect, it } from '@jest/globals';
import type { KubeObject } from './objects.ts';
import { renderInstallation } from './render.ts';
import { PROFILES, type Profile, valuesOf, type Yaml } from './values.ts';

interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly enableServiceLinks: boolean;
  readonly securityContext: Yaml;
  readonly containers: readonly (Yaml & { readonly ports: readonly { readonly name: string; readonly containerPort: number }[] })[];
  readonly volumes: readonly { readonly name: string }[];
}

interface Deployment extends KubeObject {
  readonly spec: {
    readonly replicas: number;
    readonly strategy: Yaml;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly template: { readonly metadata: { readonly labels: Readonly<Record<string, string>> }; readonly spec: PodSpec };
  };
}

interface Rules extends KubeObject {
  readonly rules: readonly { readonly apiGroups: string[]; readonly resources: string[]; readonly verbs: string[] }[];
}

const ofKind = <T extends KubeObject>(objects: readonly KubeObject[], kind: string): readonly T[] =>
  objects.filter((object) => object.kind === kind) as unknown as readonly T[];
const namesOf = (profile: Profile, kind: string, changes: Yaml = {}): readonly string[] =>
  ofKind(renderInstallation(valuesOf(profile, changes)), kind).map(({ metadata }) => metadata.name);

describe('an installation', () => {
  const everything = renderInstallation(valuesOf('default', { egressGateway: { enabled: true }, rateLimit: { enabled: true } }));
  const deployments = ofKind<Deployment>(everything, 'Deployment');
  const eachDeployment = deployments.map((deployment) => [deployment.metadata.name, deployment] as const);

  it.each([
    ['default', ['mizzen-ca', 'mizzen-control-plane', 'mizzen-injector', 'mizzen-telemetry', 'istio-ingressgateway']],
    ['minimal', ['mizzen-ca', 'mizzen-control-plane', 'mizzen-injector']],
    ['demo', ['mizzen-ca', 'mizzen-control-plane', 'mizzen-injector', 'mizzen-telemetry', 'istio-ingressgateway', 'istio-egressgateway']],
    ['revision', ['mizzen-control-plane', 'mizzen-injector']],
    ['empty', []],
  ] as const)('of profile %s has the components %j', (profile, names) => {
    expect(namesOf(profile, 'Deployment')).toEqual(names);
  });

  it('counts for the whole mesh where that is asked for', () => {
    const names = namesOf('default', 'Service', { rateLimit: { enabled: true } });
    expect(names).toContain('mizzen-rate-limit');
    expect(namesOf('default', 'Service')).not.toContain('mizzen-rate-limit');
  });

  it('of a revision has names of its own for what two revisions must not share', () => {
    const changes = { revision: 'canary' };
    expect(namesOf('revision', 'Deployment', changes)).toEqual(['mizzen-control-plane-canary', 'mizzen-injector-canary']);
    expect(namesOf('revision', 'Service', changes)).toEqual(['istiod-canary', 'mizzen-injector-canary']);
    expect(namesOf('revision', 'MutatingWebhookConfiguration', changes)).toEqual(['istio-sidecar-injector-canary']);
    expect(namesOf('revision', 'ConfigMap', changes)).toEqual(['istio-canary', 'mizzen-injector-canary']);
  });

  it('has every object once, and the same from the same values', () => {
    const keys = everything.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
    expect(new Set(keys).size).toBe(keys.length);
    expect(renderInstallation(valuesOf('demo'))).toEqual(renderInstallation(valuesOf('demo')));
  });

  it.each(PROFILES)('of profile %s is JSON without undefined fields', (profile) => {
    const objects = renderInstallation(valuesOf(profile));
    expect(JSON.parse(JSON.stringify(objects))).toEqual(objects);
    expect(objects.every(({ metadata }) => metadata.labels?.['app.kubernetes.io/managed-by'] === 'mizzen')).toBe(true);
  });

  it.each(eachDeployment)('runs %s without any privilege, as the Pod Security Standard "restricted" wants it', (_, { spec }) => {
    const pod = spec.template.spec;
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(pod.securityContext['runAsUser']).toBeGreaterThan(0);
    for (const container of pod.containers) {
      expect(container['securityContext']).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
        privileged: false,
      });
    }
  });

  it.each(eachDeployment)('runs %s with probes and requests, and rolls it without a gap', (_, { spec }) => {
    const [container] = spec.template.spec.containers;
    expect(container).toMatchObject({ startupProbe: {}, readinessProbe: {}, resources: { requests: {} } });
    expect(spec.strategy).toMatchObject({ rollingUpdate: { maxUnavailable: 0 } });
    // The Service mizzen-ca would give every pod MIZZEN_CA_PORT, which is a setting.
    expect(spec.template.spec.enableServiceLinks).toBe(false);
  });

  it.each(eachDeployment)('has a disruption budget for %s that lets nodes be drained', (name, { spec }) => {
    const budget = ofKind(everything, 'PodDisruptionBudget').find(({ metadata }) => metadata.name === name);
    expect(budget?.['spec']).toEqual({ maxUnavailable: 1, selector: { matchLabels: spec.selector.matchLabels } });
  });

  it('gives a token of the API server to those only who are granted something', () => {
    const mounting = deployments.filter(({ spec }) => spec.template.spec.automountServiceAccountToken).map(({ metadata }) => metadata.name);
    expect(mounting).toEqual(['mizzen-ca', 'mizzen-control-plane', 'mizzen-injector']);
  });

  it('leads every Service to ports that its pods have', () => {
    for (const service of ofKind<KubeObject & { spec: { selector: object; ports: { targetPort: number }[] } }>(everything, 'Service')) {
      const pods = deployments.filter(({ spec }) => isWithin(service.spec.selector, spec.template.metadata.labels));
      expect(pods).toHaveLength(1);
      const open = pods[0]?.spec.template.spec.containers.flatMap(({ ports }) => ports.map(({ containerPort }) => containerPort));
      expect(open).toEqual(expect.arrayContaining(service.spec.ports.map(({ targetPort }) => targetPort)));
    }
  });

  it('grants no wildcard, and nobody but the CA may write its key', () => {
    const roles = [...ofKind<Rules>(everything, 'ClusterRole'), ...ofKind<Rules>(everything, 'Role')];
    for (const { metadata, rules } of roles) {
      for (const rule of rules) {
        expect([...rule.apiGroups, ...rule.resources, ...rule.verbs]).not.toContain('*');
        const isWrite = rule.verbs.some((verb) => ['update', 'patch', 'delete'].includes(verb));
        if (rule.resources.includes('secrets') && isWrite) expect(['mizzen-ca', 'mizzen-injector']).toContain(metadata.name);
      }
    }
  });

  it('leaves NetworkPolicies out where they are not wanted', () => {
    expect(namesOf('default', 'NetworkPolicy')).toHaveLength(4);
    expect(namesOf('default', 'NetworkPolicy', { networkPolicies: { enabled: false } })).toEqual([]);
  });

  it('takes maps together, replaces lists, and takes out what is null', () => {
    const values = valuesOf('demo', { ingressGateway: { service: { type: 'NodePort' } }, meshConfig: { accessLogFile: null } });
    expect(values.ingressGateway.service).toMatchObject({ type: 'NodePort', ports: [{ port: 15021 }, { port: 80 }, { port: 443 }] });
    expect(values.ingressGateway.replicas).toBe(1);
    expect(values.meshConfig).toEqual({ defaultConfig: { tracing: { sampling: 100 } } });
  });
});

function isWithin(some: object, all: object): boolean {
  return Object.entries(some).every(([key, value]) => (all as Record<string, unknown>)[key] === value);
}
