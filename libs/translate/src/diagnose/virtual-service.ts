import type { Diagnostic } from '@mizzen/core';
import { isOfKind, type Resource, refOf, resourceKey } from '@mizzen/mesh-api';
import {
  findDestinationRule,
  isWildcardHost,
  MESH_GATEWAY,
  type MeshSnapshot,
  resolveShortName,
  type VirtualServiceConfig,
} from '@mizzen/model';
import { regexProblem } from '../regex.ts';
import { claimKeys, isCatchAll, PSEUDO_HEADER_KEYS, regexesOf } from '../route/matches.ts';
import { report } from './report.ts';

type Path = (string | number)[];

type VirtualService = Resource<'VirtualService'>;

/** Findings about the VirtualServices: what they refer to, what can never happen, and what is left out. */
export function diagnoseVirtualServices(snapshot: MeshSnapshot): Diagnostic[] {
  const written = snapshot.resources.filter((resource) => isOfKind(resource, 'VirtualService'));
  return [
    // Delegates have rules too, though only their roots are in force.
    ...written.flatMap((resource) => [
      ...badRegexes(resource),
      ...headerKeys(resource),
      ...missingDestinations(snapshot, resource),
      ...unreachableRules(resource),
    ]),
    ...snapshot.virtualServices.flatMap((virtualService) => [
      ...missingGateways(snapshot, virtualService),
      ...contradictions(virtualService),
    ]),
    ...brokenDelegations(written),
    ...conflictingHosts(snapshot),
  ];
}

function badRegexes(resource: VirtualService): Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  const check = (path: Path, regex: string): void => {
    const problem = regexProblem(regex);
    if (problem === '') return;
    diagnostics.push(
      report(resource, {
        code: 'IST0106',
        severity: 'error',
        path,
        message: `not a regular expression of RE2: ${problem}; the route is left out`,
      }),
    );
  };
  for (const [index, rule] of (resource.spec.http ?? []).entries()) {
    for (const [at, match] of (rule.match ?? []).entries()) {
      for (const { path, regex } of regexesOf(match)) check(['spec', 'http', index, 'match', at, ...path], regex);
    }
    const rewrite = rule.rewrite?.uriRegexRewrite?.match;
    if (rewrite !== undefined) check(['spec', 'http', index, 'rewrite', 'uriRegexRewrite', 'match'], rewrite);
  }
  return diagnostics;
}

/** Keys among the headers that are none: claims, which nothing verifies, and pseudo-headers, which have fields of their own. */
function headerKeys(resource: VirtualService): Diagnostic[] {
  return (resource.spec.http ?? []).flatMap((rule, index) =>
    (rule.match ?? []).flatMap((match, at) => {
      const path: Path = ['spec', 'http', index, 'match', at];
      const claims = claimKeys(match).map(({ field, key }) =>
        report(resource, {
          code: 'IST0149',
          severity: 'error',
          path: [...path, field, key],
          message: `no RequestAuthentication verifies the JWT of ${key}: this version enforces none; the match is left out`,
        }),
      );
      const ignored = (['headers', 'withoutHeaders'] as const).flatMap((field) =>
        Object.keys(match[field] ?? {})
          .filter((key) => PSEUDO_HEADER_KEYS.has(key))
          .map((key) =>
            report(resource, {
              code: 'no-effect',
              severity: 'warning',
              path: [...path, field, key],
              message: `${key} among the headers is ignored; use the field match.${key}`,
            }),
          ),
      );
      return [...claims, ...ignored];
    }),
  );
}

/** Delegations to what does not exist, and delegates that nothing delegates to. */
function brokenDelegations(written: readonly VirtualService[]): Diagnostic[] {
  const unused = new Map(
    written.filter(({ spec }) => (spec.hosts ?? []).length === 0).map((resource) => [resourceKey(refOf(resource)), resource]),
  );
  const delegates = new Set(unused.keys());
  const missing = written.flatMap((resource) =>
    (resource.spec.http ?? []).flatMap(({ delegate }, index) => {
      if (delegate === undefined) return [];
      const wanted = { kind: 'VirtualService', namespace: delegate.namespace || resource.metadata.namespace, name: delegate.name ?? '' };
      unused.delete(resourceKey(wanted));
      if (delegates.has(resourceKey(wanted))) return [];
      const message = `there is no VirtualService ${wanted.namespace}/${wanted.name} without hosts to delegate to; the rule is left out`;
      return [report(resource, { code: 'IST0101', severity: 'error', path: ['spec', 'http', index, 'delegate', 'name'], message })];
    }),
  );
  const message = 'without hosts it is a delegate, and no VirtualService delegates to it';
  return [
    ...missing,
    ...Array.from(unused.values(), (resource) => report(resource, { code: 'no-effect', severity: 'warning', path: ['spec'], message })),
  ];
}

function contradictions({ contradictions: found, namespace, name }: VirtualServiceConfig): Diagnostic[] {
  const message = `its matches contradict those of VirtualService ${namespace}/${name}, which delegates to it; the rule is left out there`;
  return found.map(({ delegate, index }) =>
    report(delegate, { code: 'no-effect', severity: 'warning', path: ['spec', 'http', index, 'match'], message }),
  );
}

function missingGateways(snapshot: MeshSnapshot, { resource, gateways }: VirtualServiceConfig): Diagnostic[] {
  const known = new Set(snapshot.gateways.map(({ key }) => key));
  return gateways.flatMap((gateway, index) =>
    gateway === MESH_GATEWAY || known.has(gateway)
      ? []
      : [
          report(resource, {
            code: 'IST0101',
            severity: 'error',
            path: ['spec', 'gateways', index],
            message: `gateway ${gateway} does not exist`,
          }),
        ],
  );
}

interface NamedDestination {
  readonly path: Path;
  readonly destination: { readonly host: string; readonly subset?: string };
}

function destinations({ spec }: VirtualService): NamedDestination[] {
  const http = (spec.http ?? []).flatMap((rule, index): NamedDestination[] => [
    ...(rule.route ?? []).map(({ destination }, at) => ({ path: ['spec', 'http', index, 'route', at, 'destination'], destination })),
    ...(rule.mirror ? [{ path: ['spec', 'http', index, 'mirror'], destination: rule.mirror }] : []),
    ...(rule.mirrors ?? []).map(({ destination }, at) => ({ path: ['spec', 'http', index, 'mirrors', at, 'destination'], destination })),
  ]);
  const l4 = (['tcp', 'tls'] as const).flatMap((field) =>
    (spec[field] ?? []).flatMap((rule, index) =>
      (rule.route ?? []).map(({ destination }, at) => ({ path: ['spec', field, index, 'route', at, 'destination'], destination })),
    ),
  );
  return [...http, ...l4];
}

function missingDestinations(snapshot: MeshSnapshot, resource: VirtualService): Diagnostic[] {
  const { namespace } = resource.metadata;
  return destinations(resource).flatMap(({ path, destination }) => {
    const host = resolveShortName(destination.host, { namespace, domain: snapshot.domain });
    const [service] = snapshot.services.get(host) ?? [];
    if (service === undefined) {
      const isCovered = [...snapshot.services.keys()].some((known) => isWildcardHost(known) && host.endsWith(known.slice(1)));
      return isCovered
        ? []
        : [
            report(resource, {
              code: 'IST0101',
              severity: 'error',
              path: [...path, 'host'],
              message: `host ${host} does not exist; requests to it answer 503`,
            }),
          ];
    }
    if (destination.subset === undefined || destination.subset === '') return [];
    const rule = findDestinationRule(snapshot.destinationRules, {
      host,
      serviceNamespace: service.namespace,
      clientNamespace: namespace,
      clientLabels: {},
    });
    if (rule?.subsets.some(({ name }) => name === destination.subset)) return [];
    const message = `subset ${destination.subset} of ${host} is in no DestinationRule; requests to it answer 503`;
    return [report(resource, { code: 'IST0101', severity: 'error', path: [...path, 'subset'], message })];
  });
}

function unreachableRules(resource: VirtualService): Diagnostic[] {
  const rules = resource.spec.http ?? [];
  const catchAll = rules.findIndex((rule) => !rule.match || rule.match.length === 0 || rule.match.some(isCatchAll));
  if (catchAll < 0) return [];
  return rules.slice(catchAll + 1).map((_, offset) =>
    report(resource, {
      code: 'IST0130',
      severity: 'warning',
      path: ['spec', 'http', catchAll + 1 + offset],
      message: `the rule is never reached: http[${catchAll}] matches everything`,
    }),
  );
}

/** Hosts that several VirtualServices claim for the mesh: all but the oldest have no effect there. */
function conflictingHosts(snapshot: MeshSnapshot): Diagnostic[] {
  const owners = new Map<string, VirtualServiceConfig>();
  const diagnostics: Diagnostic[] = [];
  for (const virtualService of snapshot.virtualServices) {
    if (!virtualService.gateways.includes(MESH_GATEWAY)) continue;
    for (const [index, host] of virtualService.hosts.entries()) {
      const owner = owners.get(host);
      if (owner === undefined) owners.set(host, virtualService);
      else if (owner !== virtualService) {
        const message = `host ${host} is already routed for the mesh by the older VirtualService ${owner.namespace}/${owner.name}; this one has no effect on it`;
        diagnostics.push(report(virtualService.resource, { code: 'IST0109', severity: 'error', path: ['spec', 'hosts', index], message }));
      }
    }
  }
  return diagnostics;
}
