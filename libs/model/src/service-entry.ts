import type { Resource } from '@mizzen/mesh-api';
import { isWildcardHost, parseServiceHost, resolveShortName } from './host.ts';
import { parseProtocol } from './protocol.ts';
import type { Resolution, Service, ServicePort } from './service.ts';
import { parseVisibility } from './visibility.ts';
import { workloadFromSpec } from './workload.ts';

const RESOLUTIONS: Readonly<Record<string, Resolution>> = {
  NONE: 'passthrough',
  STATIC: 'static',
  DNS: 'dns',
  DNS_ROUND_ROBIN: 'dns-round-robin',
};

/**
 * The services of a ServiceEntry, one for each host. Pure.
 * A resolution that is not translated (DYNAMIC_DNS) counts as NONE; the diagnostics name it.
 */
export function servicesFromEntry(
  resource: Resource<'ServiceEntry'>,
  context: { domain: string; defaultExportTo: readonly string[] | undefined },
): Service[] {
  const { spec, metadata } = resource;
  const { namespace } = metadata;
  const ports = (spec.ports ?? []).map(portOf);
  const own = (spec.endpoints ?? []).map((endpoint, index) => workloadFromSpec(endpoint, { name: `${metadata.name}-${index}`, namespace }));
  return spec.hosts.map((written) => {
    const host = resolveShortName(written, { namespace, domain: context.domain });
    const resolution = RESOLUTIONS[spec.resolution ?? 'NONE'] ?? 'passthrough';
    const selector = spec.workloadSelector?.labels;
    return {
      host,
      namespace,
      // @deviation Istio names it by its host; the short name is what a Kubernetes Service of the same host has, in metrics and graphs.
      name: parseServiceHost(host, context.domain)?.name ?? host,
      ports,
      addresses: spec.addresses ?? [],
      isAddressAllocated: isAddressAllocated(resource, { host, resolution }),
      isExternal: (spec.location ?? 'MESH_EXTERNAL') === 'MESH_EXTERNAL',
      resolution,
      visibility: parseVisibility(spec.exportTo, { namespace, fallback: context.defaultExportTo }),
      workloadSelector: selector,
      ownWorkloads: own.length === 0 && selector === undefined && isDns(resolution) ? [hostItself(host, namespace)] : own,
      subjectAltNames: spec.subjectAltNames ?? [],
      createdAt: metadata.creationTimestamp,
      source: { kind: 'ServiceEntry', namespace, name: metadata.name },
    };
  });
}

const ALLOCATION_LABEL = 'networking.istio.io/enable-autoallocate-ip';

// Behind an address of ours, the one that the client wanted is not known; a wildcard is many names.
function isAddressAllocated({ spec, metadata }: Resource<'ServiceEntry'>, about: { host: string; resolution: Resolution }): boolean {
  const isOptedOut = metadata.labels[ALLOCATION_LABEL]?.toLowerCase() === 'false';
  return (spec.addresses ?? []).length === 0 && about.resolution !== 'passthrough' && !isOptedOut && !isWildcardHost(about.host);
}

function portOf(port: NonNullable<Resource<'ServiceEntry'>['spec']['ports']>[number]): ServicePort {
  return { number: port.number, name: port.name ?? '', protocol: parseProtocol(port.protocol), targetPort: port.targetPort ?? port.number };
}

function isDns(resolution: Resolution): boolean {
  return resolution === 'dns' || resolution === 'dns-round-robin';
}

// Without endpoints a DNS service is looked up by its own name.
function hostItself(host: string, namespace: string) {
  return workloadFromSpec({ address: host }, { name: host, namespace });
}
