import { isIP } from 'node:net';
import { MizzenError, splitHostPort, Watchable } from '@mizzen/core';
import { RATE_LIMIT_PORT, rateLimitService, type Service, type Workload } from '@mizzen/model';
import type { MeshInput, PipelineSources, Watched } from './pipeline.ts';

/** As old as can be: what the operator of the mesh says comes before what anybody writes into a ServiceEntry. */
const ALWAYS = new Date(0).toISOString();

/**
 * A registry of one service: the rate limit service, at an address that the control plane was told. On Kubernetes it is a Service instead.
 * `address` is `host:port`; throws MIZZEN_SETTINGS for anything else.
 */
export function rateLimitRegistry(
  address: string,
  { mesh, domain }: { readonly mesh: Watched<MeshInput>; readonly domain: string },
): NonNullable<PipelineSources['registries']>[number] {
  const at = splitHostPort(address);
  if (at === undefined || at.host === '')
    throw new MizzenError('MIZZEN_SETTINGS', `--rate-limit-address ${address} is not of the form HOST:PORT`);
  const build = (): Service => serviceAt(at, { rootNamespace: mesh.value.mesh.rootNamespace ?? 'istio-system', domain });
  const services = new Watchable<readonly Service[]>([build()]);
  mesh.watch(() => {
    const fresh = build();
    if (fresh.host !== services.value[0]?.host) services.set([fresh]);
  });
  return { services, workloads: new Watchable<readonly Workload[]>([]) };
}

function serviceAt(at: { readonly host: string; readonly port: number }, mesh: { rootNamespace: string; domain: string }): Service {
  const { host } = rateLimitService(mesh);
  const [name = host] = host.split('.');
  const namespace = mesh.rootNamespace;
  return {
    host,
    namespace,
    name,
    ports: [{ number: RATE_LIMIT_PORT, name: 'grpc', protocol: 'grpc', targetPort: at.port }],
    addresses: [],
    isExternal: false,
    resolution: isIP(at.host) === 0 ? 'dns' : 'static',
    visibility: 'everywhere',
    workloadSelector: undefined,
    ownWorkloads: [
      {
        name,
        namespace,
        address: at.host,
        ports: { grpc: at.port },
        labels: {},
        serviceAccount: '',
        locality: '',
        network: '',
        weight: 0,
        tlsMode: 'disabled',
        group: '',
      },
    ],
    subjectAltNames: [],
    createdAt: ALWAYS,
    source: { kind: 'ControlPlane', namespace, name },
  };
}
