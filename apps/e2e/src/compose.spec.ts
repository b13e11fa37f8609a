import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { rateLimitApp } from '@mizzen/rate-limit';
import { parse, parseAllDocuments } from 'yaml';
import { workspace } from './workspace.ts';

interface Service {
  readonly image: string;
  readonly user?: string;
  readonly network_mode?: string;
  readonly command?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly cap_add?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
}

const text = readFileSync(path.join(workspace, 'deploy/compose/compose.yaml'), 'utf8');
const stack = parse(text, { merge: true }) as { services: Readonly<Record<string, Service>>; volumes: Readonly<Record<string, unknown>> };
const service = (name: string): Service => {
  const found = stack.services[name];
  if (found === undefined) throw new Error(`compose.yaml has no service ${name}`);
  return found;
};
const workloads = Object.keys(stack.services)
  .filter((name) => name.endsWith('-pod'))
  .map((name) => name.slice(0, -'-pod'.length));

/** deploy/compose/compose.yaml says many things twice; here it is held against itself and against what it is made of. */
describe('deploy/compose/compose.yaml', () => {
  it('starts every workload of the local home, each with pod, sidecar and program in one network namespace', () => {
    expect(workloads.sort()).toEqual(['details-v1', 'productpage-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3']);
    for (const name of workloads) {
      expect(service(name)).toMatchObject({ image: `mizzen/bookinfo-${name}:\${MIZZEN_TAG:-dev}`, network_mode: `service:${name}-pod` });
      expect(service(`${name}-sidecar`).network_mode).toBe(`service:${name}-pod`);
    }
  });

  it('lets every sidecar join the WorkloadGroup of its name, with that one’s labels and identity', () => {
    const folder = path.join(workspace, 'deploy/samples/bookinfo/services');
    const groups = readdirSync(folder)
      .flatMap((file) => parseAllDocuments(readFileSync(path.join(folder, file), 'utf8')))
      .map((document) => document.toJS())
      .filter(({ kind }) => kind === 'WorkloadGroup');
    for (const name of workloads) {
      const group = groups.find(({ metadata }) => metadata.name === name);
      expect(service(`${name}-sidecar`).environment).toMatchObject({
        MIZZEN_WORKLOAD_GROUP: name,
        MIZZEN_SERVICE_ACCOUNT: group.spec.template.serviceAccount,
        MIZZEN_LABELS: Object.entries(group.spec.template.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(','),
        MIZZEN_INTERCEPTION_MODE: 'REDIRECT',
        MIZZEN_POD_PORTS: JSON.stringify([{ name: 'http', containerPort: group.spec.template.ports.http, protocol: 'TCP' }]),
      });
    }
  });

  it('gives each workload the volume with its own token and no other, and has one kept there for its identity', () => {
    const command = service('join-tokens').command?.join(' ') ?? '';
    const sidecars = workloads.map((name) => [name, `${name}-sidecar`, service(`${name}-sidecar`).environment?.['MIZZEN_SERVICE_ACCOUNT']]);
    const others = [
      ['control-plane', 'control-plane', 'istiod'],
      ['ingress-gateway', 'ingress-gateway', 'istio-ingressgateway'],
    ];
    for (const [name, holder = '', account] of [...sidecars, ...others]) {
      const namespace = workloads.includes(name ?? '') ? 'default' : 'istio-system';
      expect(command).toContain(` ${name}/token=${namespace}/${account}`);
      expect(stack.volumes).toHaveProperty(`token-${name}`);
      for (const keeper of ['setup', 'join-tokens']) expect(service(keeper).volumes).toContain(`token-${name}:/mizzen/tokens/${name}`);
      const tokens = service(holder).volumes?.filter((volume) => volume.startsWith('token-'));
      expect(tokens).toEqual([`token-${name}:/mizzen/token:ro`]);
    }
  });

  it('runs the rate limit service where the control plane says that it is', () => {
    const [name, port] =
      service('control-plane')
        .command?.find((flag) => flag.startsWith('--rate-limit-address='))
        ?.split('=')[1]
        ?.split(':') ?? [];
    expect(service(String(name)).command).toEqual(['--listen-address', '0.0.0.0']);
    expect(port).toBe(String(rateLimitApp.schema.port.fallback));
  });

  it('shows the CA’s keys to nobody but the CA and who makes tokens', () => {
    const holders = Object.keys(stack.services).filter((name) => service(name).volumes?.some((volume) => volume.startsWith('ca:')));
    expect(holders.sort()).toEqual(['ca', 'join-tokens', 'setup']);
  });

  // What is well is asked every half minute only, and a start anew is not taken for what was well before it.
  it('keeps the marker of every health check where a restart removes it', () => {
    const checked = Object.entries(stack.services).filter(([, { healthcheck }]) => healthcheck !== undefined);
    expect(checked).toHaveLength(Object.keys(stack.services).length - ['setup', 'cli'].length);
    for (const [name, { healthcheck, tmpfs }] of checked) {
      const [, command] = healthcheck?.test ?? [];
      expect([name, command]).toEqual([name, expect.stringMatching(/^test -e \/tmp\/well && sleep 30; .* && touch \/tmp\/well$/)]);
      expect([name, tmpfs]).toEqual([name, ['/tmp']]);
    }
  });

  it('publishes the gateway and, on this machine only, the console', () => {
    const published = Object.keys(stack.services).flatMap((name) => (service(name).ports ?? []).map((port) => `${name} ${port}`));
    expect(published).toEqual([
      `telemetry 127.0.0.1:\${MIZZEN_CONSOLE_PORT:-20001}:20001`,
      `ingress-gateway \${MIZZEN_GATEWAY_PORT:-8080}:8080`,
      `ingress-gateway \${MIZZEN_GATEWAY_HTTPS_PORT:-8443}:8443`,
    ]);
  });

  it('runs images that `npm run images` makes, and gives capabilities to the pods alone', () => {
    const { stdout } = spawnSync(process.execPath, [path.join(workspace, 'tools/images/main.ts'), '--list'], { encoding: 'utf8' });
    const images = stdout.split('\n').map((image) => image.replace(/:.*$/, `:\${MIZZEN_TAG:-dev}`));
    for (const [name, { image, user, cap_add, cap_drop }] of Object.entries(stack.services)) {
      expect(images).toContain(image);
      expect([name, cap_add]).toEqual([name, name.endsWith('-pod') ? ['NET_ADMIN', 'NET_RAW'] : undefined]);
      if (name === 'setup') continue;
      expect([name, cap_drop]).toEqual([name, ['ALL']]);
      expect([name, user === '0:0']).toEqual([name, name.endsWith('-pod')]);
    }
  });
});
