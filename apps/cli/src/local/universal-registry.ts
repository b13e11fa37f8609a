import { isOfKind, type Resource } from '@mizzen/mesh-api';
import { createResourceStore } from '@mizzen/sources';

/** A program's place in the mesh, as it was asked for. */
export interface Registration {
  readonly service: string;
  readonly version: string;
  readonly namespace: string;
  readonly port: number;
  readonly protocol: string;
  readonly serviceAccount?: string;
}

/** What its sidecar has to say of itself. */
export interface RegisteredWorkload {
  readonly workloadGroup: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Sees to it that the service and the version exist: a ServiceEntry `<service>` and a WorkloadGroup `<service>-<version>` are written where
 * there are none. What is there is left as it is, and its service account and labels are used.
 */
export async function registerService(options: {
  directory: string;
  service: Registration;
  message: (line: string) => void;
}): Promise<RegisteredWorkload> {
  const { directory, service, message } = options;
  const { namespace } = service;
  const store = createResourceStore({ directory });
  const workloadGroup = `${service.service}-${service.version}`;
  const group = await store.get({ kind: 'WorkloadGroup', namespace, name: workloadGroup });
  const entry = await store.get({ kind: 'ServiceEntry', namespace, name: service.service });
  const missing = [...(entry ? [] : [serviceEntryOf(service)]), ...(group ? [] : [workloadGroupOf(service)])];
  for (const { ref, result } of await store.apply(missing)) message(`${ref.kind} ${ref.name} ${result}`);
  const template = group && isOfKind(group, 'WorkloadGroup') ? group.spec.template : undefined;
  return {
    workloadGroup,
    namespace,
    serviceAccount: service.serviceAccount ?? template?.serviceAccount ?? service.service,
    labels: { ...labelsOf(service), ...template?.labels },
  };
}

function labelsOf({ service, version }: Registration): Record<string, string> {
  return { app: service, version };
}

function serviceEntryOf(service: Registration): Resource<'ServiceEntry'> {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: metadataOf(service.service, service.namespace),
    spec: {
      hosts: [`${service.service}.${service.namespace}.svc.cluster.local`],
      location: 'MESH_INTERNAL',
      resolution: 'STATIC',
      ports: [{ number: service.port, name: portName(service), protocol: service.protocol }],
      workloadSelector: { labels: { app: service.service } },
    },
  };
}

function workloadGroupOf(service: Registration): Resource<'WorkloadGroup'> {
  const labels = labelsOf(service);
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadGroup',
    metadata: metadataOf(`${service.service}-${service.version}`, service.namespace),
    spec: {
      metadata: { labels },
      template: { labels, serviceAccount: service.serviceAccount ?? service.service, ports: { [portName(service)]: service.port } },
    },
  };
}

function portName({ protocol }: Registration): string {
  return protocol.toLowerCase();
}

function metadataOf(name: string, namespace: string): Resource['metadata'] {
  return { name, namespace, labels: {}, annotations: {}, creationTimestamp: '', generation: 1 };
}
