import type { Diagnostic } from '@mizzen/core';
import type { KubeObject, V1Service } from '@mizzen/kube';
import { parseVisibility, type Service, type ServicePort, selectProtocol, type Workload } from '@mizzen/model';
import { creationOf } from './metadata.ts';

/** What is kept of a Service. */
export interface KeptService {
  readonly name: string;
  readonly namespace: string;
  readonly createdAt: string;
  readonly type: string;
  readonly clusterIps: readonly string[];
  readonly externalName: string;
  readonly externalIps: readonly string[];
  /** What a load balancer was given: `{ ip }` or `{ hostname }`. */
  readonly loadBalancer: readonly { readonly ip?: string; readonly hostname?: string }[];
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly ports: readonly KeptServicePort[];
  readonly exportTo: readonly string[] | undefined;
  /** What is written and has no effect, as `field: value`. */
  readonly unsupported: readonly string[];
}

interface KeptServicePort {
  readonly name: string;
  readonly number: number;
  readonly appProtocol?: string;
  readonly targetPort: number | string;
}

const EXPORT_TO = 'networking.istio.io/exportTo';
const UNSUPPORTED_ANNOTATIONS = ['networking.istio.io/traffic-distribution'];

export function keepService(object: KubeObject): KeptService {
  const { metadata } = object;
  const { spec = {}, status = {} } = object as Pick<V1Service, 'spec' | 'status'>;
  const exportTo = metadata.annotations?.[EXPORT_TO];
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? 'default',
    createdAt: creationOf(metadata),
    type: spec.type ?? 'ClusterIP',
    clusterIps: spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []),
    externalName: spec.externalName ?? '',
    externalIps: spec.externalIPs ?? [],
    loadBalancer: (status.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ({ ...(ip && { ip }), ...(hostname && { hostname }) })),
    selector: spec.selector && Object.keys(spec.selector).length > 0 ? spec.selector : undefined,
    // Nothing but TCP passes a proxy; a port of DNS is often there twice, with the same number.
    ports: (spec.ports ?? [])
      .filter(({ protocol = 'TCP' }) => protocol === 'TCP')
      .map(({ name = '', port, appProtocol, targetPort }) => ({
        name,
        number: port,
        ...(appProtocol !== undefined && { appProtocol }),
        targetPort: targetPort === undefined || targetPort === 0 || targetPort === '' ? port : targetPort,
      })),
    exportTo: exportTo?.split(',').map((entry) => entry.trim()),
    unsupported: [
      ...(spec.internalTrafficPolicy === 'Local' ? ['spec.internalTrafficPolicy: Local'] : []),
      ...(spec.trafficDistribution ? [`spec.trafficDistribution: ${spec.trafficDistribution}`] : []),
      ...UNSUPPORTED_ANNOTATIONS.filter((name) => metadata.annotations?.[name]).map((name) => `the annotation ${name}`),
    ],
  };
}

export function hostOfService({ name, namespace }: { name: string; namespace: string }, domain: string): string {
  return `${name}.${namespace}.svc.${domain}`;
}

/** A Service as the model has it. Pure. Source: istio pkg/serviceregistry/kube conversion.go ConvertService (1.32 dev). */
export function serviceFromKept(kept: KeptService, context: { domain: string; defaultExportTo: readonly string[] | undefined }): Service {
  const { name, namespace } = kept;
  const isExternalName = kept.type === 'ExternalName' && kept.externalName !== '';
  const addresses = kept.clusterIps.filter((address) => address !== '' && address !== 'None');
  return {
    host: hostOfService(kept, context.domain),
    namespace,
    name,
    ports: kept.ports.map(portOf),
    addresses: isExternalName ? [] : addresses,
    isExternal: isExternalName,
    resolution: isExternalName ? 'dns' : addresses.length === 0 ? 'passthrough' : 'static',
    visibility: parseVisibility(kept.exportTo, { namespace, fallback: context.defaultExportTo }),
    ...(!isExternalName && { endpointSource: 'registry' as const }),
    workloadSelector: isExternalName ? undefined : kept.selector,
    ownWorkloads: isExternalName ? [externalWorkload(kept)] : [],
    subjectAltNames: [],
    createdAt: kept.createdAt,
    source: { kind: 'Service', namespace, name },
  };
}

/** What there is to say about Services: parts of them that the mesh does not heed. Pure. */
export function diagnoseServices(services: Iterable<KeptService>): Diagnostic[] {
  return [...services].flatMap(({ name, namespace, unsupported }) =>
    unsupported.map(
      (what): Diagnostic => ({
        code: 'unsupported-field',
        severity: 'warning',
        message: `${what} is valid but not supported yet; it has no effect`,
        resource: { kind: 'Service', namespace, name },
      }),
    ),
  );
}

function portOf({ name, number, appProtocol, targetPort }: KeptServicePort): ServicePort {
  return {
    number,
    name,
    protocol: selectProtocol({ number, name, ...(appProtocol !== undefined && { appProtocol }) }),
    ...(typeof targetPort === 'number' ? { targetPort } : { targetPort: number, targetPortName: targetPort }),
  };
}

/** What an ExternalName stands for, looked up by DNS. */
function externalWorkload({ externalName, namespace }: KeptService): Workload {
  return {
    name: externalName,
    namespace,
    address: externalName,
    ports: {},
    labels: {},
    serviceAccount: '',
    locality: '',
    network: '',
    weight: 0,
    tlsMode: 'disabled',
    group: '',
  };
}
