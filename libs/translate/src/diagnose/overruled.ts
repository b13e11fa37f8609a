import type { Diagnostic } from '@mizzen/core';
import { isOfKind, type Resource } from '@mizzen/mesh-api';
import { byAge, type MeshSnapshot } from '@mizzen/model';
import { report } from './report.ts';

/** What is valid, but has no effect because an older resource of the same scope decides. */
export function overruled(snapshot: MeshSnapshot): Diagnostic[] {
  return [...peerAuthentications(snapshot), ...trafficPolicies(snapshot), ...sidecars(snapshot)];
}

/** The oldest of a scope wins, and the root namespace selects no workloads. */
function peerAuthentications({ resources, rootNamespace }: MeshSnapshot): Diagnostic[] {
  const owners = new Map<string, Resource>();
  return byAge(resources.filter((resource) => isOfKind(resource, 'PeerAuthentication'))).flatMap((resource) => {
    const { namespace } = resource.metadata;
    const selector = Object.entries(resource.spec.selector?.matchLabels ?? {}).sort();
    if (selector.length > 0 && namespace === rootNamespace) {
      const message = 'policies of the root namespace are for the whole mesh; one with a selector is ignored there';
      return [report(resource, { code: 'no-effect', severity: 'error', path: ['spec', 'selector'], message })];
    }
    const scope = JSON.stringify([namespace, selector]);
    const owner = owners.get(scope);
    if (owner === undefined) {
      owners.set(scope, resource);
      return [];
    }
    const message = `the older PeerAuthentication ${namespace}/${owner.metadata.name} has the same scope and decides`;
    return [report(resource, { code: 'no-effect', severity: 'error', path: ['spec'], message })];
  });
}

/** DestinationRules of one host are merged; of their top-level policies the oldest is taken whole, and so is each subset. */
function trafficPolicies({ destinationRules }: MeshSnapshot): Diagnostic[] {
  const merged = [...destinationRules.byNamespace.values()].flatMap(({ all }) => all.filter(({ sources }) => sources.length > 1));
  return merged.flatMap(({ host, sources }) => {
    const diagnostics: Diagnostic[] = [];
    let policyOwner: string | undefined;
    const subsetOwners = new Map<string, string>();
    for (const resource of sources) {
      const { name } = resource.metadata;
      const add = (path: (string | number)[], message: string): void => {
        diagnostics.push(report(resource, { code: 'no-effect', severity: 'warning', path, message }));
      };
      if (resource.spec.trafficPolicy !== undefined) {
        if (policyOwner !== undefined) add(['spec', 'trafficPolicy'], `the older DestinationRule ${policyOwner} has the policy of ${host}`);
        policyOwner ??= name;
      }
      for (const [index, subset] of (resource.spec.subsets ?? []).entries()) {
        const owner = subsetOwners.get(subset.name);
        if (owner !== undefined)
          add(['spec', 'subsets', index], `the older DestinationRule ${owner} has the subset ${subset.name} of ${host}`);
        else subsetOwners.set(subset.name, name);
      }
    }
    return diagnostics;
  });
}

/** Of the Sidecars without selector the oldest is the namespace's. */
function sidecars(snapshot: MeshSnapshot): Diagnostic[] {
  return [...snapshot.sidecars.values()].flatMap((ofNamespace) => {
    const [first, ...others] = ofNamespace.filter(({ spec }) => Object.keys(spec.workloadSelector?.labels ?? {}).length === 0);
    return others.map((resource) =>
      report(resource, {
        code: 'no-effect',
        severity: 'warning',
        path: ['spec'],
        message: `the older Sidecar ${first?.metadata.name} without workloadSelector is the namespace's`,
      }),
    );
  });
}
