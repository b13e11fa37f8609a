import { silentLogger, systemClock } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeObject } from '@mizzen/kube';
import type { FakeApiServer } from '@mizzen/kube/testing';

/** What every source is given in tests. */
export function optionsOf({ client }: FakeApiServer) {
  return { client, clock: systemClock, logger: silentLogger };
}

const { Pod, Service, EndpointSlice } = KINDS_OF_KUBERNETES;

interface PodAbout {
  readonly ip?: string;
  readonly labels?: Record<string, string>;
  readonly phase?: string;
  readonly serviceAccount?: string;
  readonly node?: string;
  readonly ready?: boolean;
}

export function putPod(server: FakeApiServer, name: string, about: PodAbout = {}): KubeObject {
  const { ip, labels = {}, phase = 'Running', serviceAccount = 'default', node = 'node1', ready } = about;
  return server.put<KubeObject>(Pod, {
    metadata: { name, namespace: 'x', labels },
    spec: { serviceAccountName: serviceAccount, nodeName: node },
    status: {
      phase,
      ...(ip !== undefined && { podIP: ip, podIPs: [{ ip }] }),
      ...(ready !== undefined && { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] }),
    },
  });
}

export function putService(
  server: FakeApiServer,
  name: string,
  spec: Readonly<Record<string, unknown>> = {},
  annotations = {},
): KubeObject {
  return server.put<KubeObject>(Service, {
    metadata: { name, namespace: 'x', annotations },
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.9',
      clusterIPs: ['10.96.0.9'],
      selector: { app: name },
      ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      ...spec,
    },
  });
}

interface EndpointAbout {
  readonly ip: string;
  readonly pod?: string;
  readonly ready?: boolean;
  readonly hostname?: string;
}

export function putSlice(
  server: FakeApiServer,
  name: string,
  about: { service: string; endpoints: readonly EndpointAbout[]; ports?: Record<string, number>; addressType?: string },
): void {
  const { service, endpoints, ports = { http: 8080 }, addressType = 'IPv4' } = about;
  server.put<KubeObject>(EndpointSlice, {
    metadata: { name, namespace: 'x', labels: { 'kubernetes.io/service-name': service } },
    addressType,
    ports: Object.entries(ports).map(([port, number]) => ({ name: port, port: number, protocol: 'TCP' })),
    endpoints: endpoints.map(({ ip, pod, ready, hostname }) => ({
      addresses: [ip],
      conditions: ready === undefined ? {} : { ready },
      ...(pod !== undefined && { targetRef: { kind: 'Pod', name: pod, namespace: 'x' } }),
      ...(hostname !== undefined && { hostname }),
    })),
  });
}
