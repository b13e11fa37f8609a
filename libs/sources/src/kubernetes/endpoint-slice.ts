import type { KubeObject } from '@mizzen/kube';

/** What is kept of an EndpointSlice of a Service. */
export interface KeptSlice {
  readonly namespace: string;
  readonly service: string;
  readonly addressType: 'IPv4' | 'IPv6';
  /** Port of the workloads by the name of the Service's port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly endpoints: readonly KeptEndpoint[];
}

export interface KeptEndpoint {
  readonly address: string;
  readonly isReady: boolean;
  /** The pod behind it, of the same namespace; undefined where it is none. */
  readonly pod?: string;
  readonly nodeName?: string;
  readonly hostname?: string;
}

interface SliceObject {
  readonly addressType?: string;
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[] | null;
  readonly endpoints?:
    | readonly {
        readonly addresses?: readonly string[];
        readonly conditions?: { readonly ready?: boolean };
        readonly hostname?: string;
        readonly nodeName?: string;
        readonly targetRef?: { readonly kind?: string; readonly name?: string };
      }[]
    | null;
}

const SERVICE_NAME = 'kubernetes.io/service-name';

/** Undefined for slices of no Service, and for those of DNS names, which no Service has. */
export function keepSlice(object: KubeObject): KeptSlice | undefined {
  const { namespace = 'default', labels = {} } = object.metadata;
  const { addressType, ports, endpoints } = object as SliceObject;
  const service = labels[SERVICE_NAME];
  if (service === undefined || (addressType !== 'IPv4' && addressType !== 'IPv6')) return undefined;
  return {
    namespace,
    service,
    addressType,
    ports: Object.fromEntries((ports ?? []).flatMap(({ name = '', port }) => (port === undefined ? [] : [[name, port]]))),
    // Consumers may rely on the first address only (discovery.k8s.io/v1 Endpoint.addresses).
    // An empty list comes as null.
    endpoints: (endpoints ?? []).flatMap(({ addresses: [address] = [], conditions, hostname, nodeName, targetRef }) =>
      address === undefined
        ? []
        : [
            {
              address,
              // Not said means ready; a Service that publishes addresses that are not ready has them ready here.
              isReady: conditions?.ready ?? true,
              ...(targetRef?.kind === 'Pod' && targetRef.name !== undefined && { pod: targetRef.name }),
              ...(nodeName && { nodeName }),
              ...(hostname && { hostname }),
            },
          ],
    ),
  };
}
