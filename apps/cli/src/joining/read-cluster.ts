import { formatDiagnostic, MizzenError } from '@mizzen/core';
import { TRUST_BUNDLE_CONFIG_MAP, trustBundleIn } from '@mizzen/identity';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import { type MeshConfig, parseMeshConfig } from '@mizzen/mesh-api';
import { servicesToReach } from './workload-files.ts';

const { ConfigMap, Service, ServiceAccount } = KINDS_OF_KUBERNETES;
const TOKEN_AUDIENCE = 'istio-ca';
// Source: istio istioctl/pkg/workload/workload.go, the Service that VMs come in by (1.32).
const EAST_WEST_GATEWAY = 'istio-eastwestgateway';

/** The MeshConfig in force; the defaults where there is no ConfigMap. */
export async function readMeshConfig(client: KubeClient, rootNamespace: string): Promise<MeshConfig> {
  const object = await client.find<KubeObject>(ConfigMap, { name: 'istio', namespace: rootNamespace });
  const text = (object?.['data'] as Record<string, string> | undefined)?.['mesh'] ?? '';
  const { meshConfig, diagnostics } = parseMeshConfig(text, `ConfigMap ${rootNamespace}/istio`, { home: 'kubernetes' });
  if (meshConfig) return { ...meshConfig, rootNamespace };
  throw new MizzenError('MIZZEN_RESOURCE', diagnostics.map(formatDiagnostic).join('\n'));
}

export async function readTrustBundle(client: KubeClient, rootNamespace: string): Promise<string> {
  const object = await client.find<KubeObject>(ConfigMap, { name: TRUST_BUNDLE_CONFIG_MAP, namespace: rootNamespace });
  const pem = object ? trustBundleIn(object) : '';
  if (pem !== '') return pem;
  throw new MizzenError(
    'MIZZEN_IDENTITY',
    `there is no trust bundle (ConfigMap ${rootNamespace}/${TRUST_BUNDLE_CONFIG_MAP}): is the mesh installed, and its CA ready?`,
  );
}

/** A token of the service account that the CA accepts. Throws MIZZEN_IDENTITY where there is no such service account. */
export async function requestToken(
  client: KubeClient,
  account: { readonly namespace: string; readonly name: string; readonly ttlMs: number },
): Promise<string> {
  const { namespace, name, ttlMs } = account;
  if (!(await client.find(ServiceAccount, { name, namespace })))
    throw new MizzenError(
      'MIZZEN_IDENTITY',
      `there is no service account ${namespace}/${name}; make it with \`kubectl create serviceaccount ${name} -n ${namespace}\``,
    );
  const { status } = await client.request<{ status?: { token?: string } }>({
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
    body: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { audiences: [TOKEN_AUDIENCE], expirationSeconds: Math.ceil(ttlMs / 1000) },
    },
  });
  if (status?.token === undefined) throw new MizzenError('MIZZEN_KUBERNETES', 'the API server answered the TokenRequest without a token');
  return status.token;
}

interface ServiceObject extends KubeObject {
  readonly spec?: { readonly clusterIP?: string };
  readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip?: string; readonly hostname?: string }[] } };
}

/**
 * Where the mesh's own services are reached from outside: all behind the address given, else behind the east-west gateway's, else each by its
 * cluster IP, which only a machine with routes into the cluster reaches.
 */
export async function readHosts(
  client: KubeClient,
  options: { readonly rootNamespace: string; readonly address: string | undefined },
): Promise<{ hosts: (readonly [string, string])[]; isInsideOnly: boolean }> {
  const { rootNamespace: namespace } = options;
  const names = Object.values(servicesToReach(namespace));
  const address = options.address ?? (await loadBalancerOf(client, { name: EAST_WEST_GATEWAY, namespace }));
  if (address !== undefined) return { hosts: names.map((name) => [name, address] as const), isInsideOnly: false };
  const hosts: (readonly [string, string])[] = [];
  for (const host of names) {
    const service = await client.find<ServiceObject>(Service, { name: host.split('.', 1)[0] as string, namespace });
    const clusterIp = service?.spec?.clusterIP;
    if (clusterIp !== undefined && clusterIp !== 'None') hosts.push([host, clusterIp]);
  }
  if (hosts.length === 0)
    throw new MizzenError('MIZZEN_NOT_RUNNING', `there is no mesh in namespace ${namespace}; \`mizzen install\` installs it`);
  return { hosts, isInsideOnly: true };
}

async function loadBalancerOf(client: KubeClient, name: { name: string; namespace: string }): Promise<string | undefined> {
  const service = await client.find<ServiceObject>(Service, name);
  const [ingress] = service?.status?.loadBalancer?.ingress ?? [];
  return ingress?.ip ?? ingress?.hostname;
}
