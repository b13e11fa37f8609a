import type { MeshConfig, Resource } from '@mizzen/mesh-api';
import { stringify } from 'yaml';

/** What a workload outside the cluster has to know of the mesh that it joins. */
export interface JoiningWorkload {
  readonly group: Resource<'WorkloadGroup'>;
  readonly mesh: MeshConfig;
  readonly clusterId: string;
  /** Name in the hosts file, address. */
  readonly hosts: readonly (readonly [name: string, address: string])[];
  readonly interceptionMode: 'REDIRECT' | 'NONE';
  /** Without capture: the ports of the group and where the program listens. `9080=127.0.0.1:5000` */
  readonly inbound: readonly string[];
}

const XDS_PORT = 15012;
const CA_PORT = 15013;
const TELEMETRY_PORT = 4317;

export function serviceAccountOf(group: Resource<'WorkloadGroup'>): string {
  return group.spec.template.serviceAccount || 'default';
}

/** The services that a workload has to reach, by the names that their certificates carry. */
export function servicesToReach(rootNamespace: string): { controlPlane: string; ca: string; telemetry: string } {
  return {
    controlPlane: `istiod.${rootNamespace}.svc`,
    ca: `mizzen-ca.${rootNamespace}.svc`,
    telemetry: `mizzen-telemetry.${rootNamespace}.svc`,
  };
}

/** Settings of `mizzen sidecar`, for `set -a; . ./sidecar.env`. File names are relative: it is run in the folder. */
export function sidecarEnvironment(workload: JoiningWorkload): string {
  const { group, mesh, clusterId, interceptionMode, inbound } = workload;
  const { template } = group.spec;
  const { controlPlane, ca, telemetry } = servicesToReach(mesh.rootNamespace);
  const addressOf = (name: string): string => workload.hosts.find(([host]) => host === name)?.[1] ?? name;
  const isCaptured = interceptionMode === 'REDIRECT';
  const ports = Object.entries(template.ports ?? {}).map(([name, containerPort]) => ({ name, containerPort, protocol: 'TCP' }));
  return variables({
    MIZZEN_NAMESPACE: group.metadata.namespace,
    MIZZEN_SERVICE_ACCOUNT: serviceAccountOf(group),
    MIZZEN_WORKLOAD_GROUP: group.metadata.name,
    MIZZEN_WORKLOAD_NAME: group.metadata.name,
    MIZZEN_LABELS: Object.entries(labelsOf(group))
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    MIZZEN_CLUSTER_ID: clusterId,
    MIZZEN_TRUST_DOMAIN: mesh.trustDomain,
    MIZZEN_ADDRESS: 'auto',
    // By address, so that they are reached without the lines of the hosts file too; the certificate of the CA is for its name.
    MIZZEN_XDS_ADDRESS: `${addressOf(controlPlane)}:${XDS_PORT}`,
    MIZZEN_CA_ADDRESS: `${addressOf(ca)}:${CA_PORT}`,
    MIZZEN_CA_SERVER_NAME: ca,
    MIZZEN_CA_ROOT: './root-cert.pem',
    MIZZEN_JOIN_TOKEN_FILE: './istio-token',
    MIZZEN_SVID_DIR: './svid',
    MIZZEN_TELEMETRY_ADDRESS: `${addressOf(telemetry)}:${TELEMETRY_PORT}`,
    MIZZEN_INTERCEPTION_MODE: interceptionMode,
    ...(group.spec.probe && { MIZZEN_READINESS_PROBE: JSON.stringify(group.spec.probe) }),
    ...(isCaptured && { MIZZEN_DNS_CAPTURE: 'true', MIZZEN_POD_PORTS: JSON.stringify(ports) }),
    ...(!isCaptured && inbound.length > 0 && { MIZZEN_INBOUND: inbound.join(',') }),
  });
}

/** What Istio's own agent is started with. Source: istio istioctl/pkg/workload/workload.go createClusterEnv (1.32). */
export function clusterEnvironment({ group, mesh, clusterId }: JoiningWorkload): string {
  const labels = labelsOf(group);
  return variables({
    CANONICAL_REVISION: labels['service.istio.io/canonical-revision'] ?? labels['version'] ?? 'latest',
    CANONICAL_SERVICE: labels['service.istio.io/canonical-name'] ?? labels['app'] ?? group.metadata.name,
    ISTIO_INBOUND_PORTS: '*',
    ISTIO_LOCAL_EXCLUDE_PORTS: '22,15090,15021,15020',
    ISTIO_METAJSON_LABELS: JSON.stringify(labels),
    ISTIO_META_AUTO_REGISTER_GROUP: group.metadata.name,
    ISTIO_META_CLUSTER_ID: clusterId,
    ISTIO_META_DNS_CAPTURE: 'true',
    ISTIO_META_MESH_ID: mesh.trustDomain,
    ISTIO_META_NETWORK: group.spec.template.network ?? '',
    ISTIO_META_WORKLOAD_NAME: group.metadata.name,
    ISTIO_NAMESPACE: group.metadata.namespace,
    ISTIO_SERVICE: `${labels['app'] ?? group.metadata.name}.${group.metadata.namespace}`,
    ISTIO_SERVICE_CIDR: '*',
    POD_NAMESPACE: group.metadata.namespace,
    SERVICE_ACCOUNT: serviceAccountOf(group),
    TRUST_DOMAIN: mesh.trustDomain,
  });
}

/** The proxy's part of the mesh's configuration, as Istio's agent reads it. */
export function meshFile({ mesh }: JoiningWorkload): string {
  const { controlPlane } = servicesToReach(mesh.rootNamespace);
  return stringify({ ...mesh.defaultConfig, discoveryAddress: `${controlPlane}:${XDS_PORT}` }, { lineWidth: 0 });
}

export function hostsFile({ hosts }: JoiningWorkload): string {
  return hosts.map(([name, address]) => `${address} ${name}\n`).join('');
}

function labelsOf(group: Resource<'WorkloadGroup'>): Readonly<Record<string, string>> {
  return { ...group.spec.metadata?.labels, ...group.spec.template.labels };
}

/** `NAME='value'` each, sorted, for a shell. */
function variables(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('');
}
