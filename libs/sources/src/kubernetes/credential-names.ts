import { isOfKind, type Resource } from '@mizzen/mesh-api';

const PREFIX = 'kubernetes://';

/** The names of all credentials that Gateways and DestinationRules ask for. In which namespace each is looked up, the proxy decides. */
export function credentialNamesOf(resources: readonly Resource[]): ReadonlySet<string> {
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name) names.add(name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);
  };
  for (const resource of resources) {
    if (isOfKind(resource, 'Gateway')) {
      for (const { tls } of resource.spec.servers ?? []) {
        add(tls?.credentialName);
        add(tls?.caCertCredentialName);
        tls?.credentialNames?.forEach(add);
      }
    } else if (isOfKind(resource, 'DestinationRule')) {
      const { trafficPolicy, subsets = [] } = resource.spec;
      for (const policy of [trafficPolicy, ...subsets.map((subset) => subset.trafficPolicy)]) {
        add(policy?.tls?.credentialName);
        for (const { tls } of policy?.portLevelSettings ?? []) add(tls?.credentialName);
      }
    }
  }
  return names;
}
