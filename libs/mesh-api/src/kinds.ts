import type { TSchema } from 'typebox';
import { destinationRuleSchema } from './kinds/destination-rule.ts';
import { envoyFilterSchema } from './kinds/envoy-filter.ts';
import { trafficExtensionSchema, wasmPluginSchema } from './kinds/extensions.ts';
import { gatewaySchema } from './kinds/gateway.ts';
import { proxyConfigSchema } from './kinds/proxy-config.ts';
import { rateLimitSchema } from './kinds/rate-limit.ts';
import type { Spec } from './kinds/schema.ts';
import { authorizationPolicySchema, peerAuthenticationSchema, requestAuthenticationSchema } from './kinds/security.ts';
import { serviceEntrySchema } from './kinds/service-entry.ts';
import { sidecarSchema } from './kinds/sidecar.ts';
import { telemetrySchema } from './kinds/telemetry.ts';
import { virtualServiceSchema } from './kinds/virtual-service.ts';
import { workloadEntrySchema } from './kinds/workload-entry.ts';
import { workloadGroupSchema } from './kinds/workload-group.ts';

/** What is known of one kind, apart from its meaning. */
export interface KindInfo {
  readonly group: string;
  /** Every version that is accepted; the first is the one Istio prefers. All of them mean the same. */
  readonly versions: readonly string[];
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly isClusterScoped: false;
  /** JSON schema of `spec`. */
  readonly schema: TSchema;
}

const NETWORKING = 'networking.istio.io';
const SECURITY = 'security.istio.io';
const EXTENSIONS = 'extensions.istio.io';
/** Of the kinds that Istio does not have. */
const OWN_GROUP = 'mizzen.io';
const NETWORKING_VERSIONS = ['v1', 'v1beta1', 'v1alpha3'];
const SECURITY_VERSIONS = ['v1', 'v1beta1'];

/**
 * Every kind of configuration, its API versions and its schema.
 * Source: Istio's CustomResourceDefinitions, 1.32 dev; kinds of our own are in the group `mizzen.io` (ADR 0017).
 */
export const KINDS = {
  VirtualService: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'virtualservices', shortNames: ['vs'], schema: virtualServiceSchema }),
  DestinationRule: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'destinationrules', shortNames: ['dr'], schema: destinationRuleSchema }),
  Gateway: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'gateways', shortNames: ['gw'], schema: gatewaySchema }),
  ServiceEntry: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'serviceentries', shortNames: ['se'], schema: serviceEntrySchema }),
  WorkloadEntry: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'workloadentries', shortNames: ['we'], schema: workloadEntrySchema }),
  WorkloadGroup: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'workloadgroups', shortNames: ['wg'], schema: workloadGroupSchema }),
  Sidecar: kind(NETWORKING, NETWORKING_VERSIONS, { plural: 'sidecars', shortNames: [], schema: sidecarSchema }),
  EnvoyFilter: kind(NETWORKING, ['v1alpha3'], { plural: 'envoyfilters', shortNames: [], schema: envoyFilterSchema }),
  ProxyConfig: kind(NETWORKING, ['v1beta1'], { plural: 'proxyconfigs', shortNames: [], schema: proxyConfigSchema }),
  PeerAuthentication: kind(SECURITY, SECURITY_VERSIONS, {
    plural: 'peerauthentications',
    shortNames: ['pa'],
    schema: peerAuthenticationSchema,
  }),
  RequestAuthentication: kind(SECURITY, SECURITY_VERSIONS, {
    plural: 'requestauthentications',
    shortNames: ['ra'],
    schema: requestAuthenticationSchema,
  }),
  AuthorizationPolicy: kind(SECURITY, SECURITY_VERSIONS, {
    plural: 'authorizationpolicies',
    shortNames: ['ap'],
    schema: authorizationPolicySchema,
  }),
  Telemetry: kind('telemetry.istio.io', ['v1', 'v1alpha1'], { plural: 'telemetries', shortNames: ['telemetry'], schema: telemetrySchema }),
  WasmPlugin: kind(EXTENSIONS, ['v1alpha1'], { plural: 'wasmplugins', shortNames: [], schema: wasmPluginSchema }),
  TrafficExtension: kind(EXTENSIONS, ['v1alpha1'], { plural: 'trafficextensions', shortNames: [], schema: trafficExtensionSchema }),
  RateLimit: kind(OWN_GROUP, ['v1alpha1'], { plural: 'ratelimits', shortNames: ['rl'], schema: rateLimitSchema }),
} as const;

export type Kind = keyof typeof KINDS;
/** The specification of a kind, as the user wrote it: nothing defaulted. */
export type SpecOf<K extends Kind> = { [P in Kind]: Spec<(typeof KINDS)[P]['schema']> }[K];

export const KIND_NAMES: readonly Kind[] = Object.freeze(Object.keys(KINDS) as Kind[]);

/** Whether Istio has no such kind. */
export function isOwnKind(name: Kind): boolean {
  return KINDS[name].group === OWN_GROUP;
}

export function isKind(name: string): name is Kind {
  return Object.hasOwn(KINDS, name);
}

/** The kind that a person means by `VirtualService`, `virtualservices`, `virtualservice` or `vs`; undefined for none. */
export function findKind(name: string): Kind | undefined {
  const wanted = name.toLowerCase().replace(/\.(?:(?:networking|security|telemetry|extensions)\.istio|mizzen)\.io$/, '');
  return KIND_NAMES.find((candidate) => {
    const { plural, singular, shortNames } = KINDS[candidate];
    return [plural, singular, ...shortNames].includes(wanted);
  });
}

/** `networking.istio.io/v1`: what is written when a resource is made by us. */
export function preferredApiVersion(name: Kind): string {
  return `${KINDS[name].group}/${KINDS[name].versions[0]}`;
}

/** A kind as a Kubernetes API server addresses it (a `KubeKind` of libs/kube), in the version that Istio prefers. */
export function kubeKindOf(name: Kind) {
  return { apiVersion: preferredApiVersion(name), kind: name, plural: KINDS[name].plural, isNamespaced: true } as const;
}

function kind<S extends TSchema>(
  group: string,
  versions: readonly string[],
  about: { plural: string; shortNames: readonly string[]; schema: S },
) {
  const { plural, shortNames, schema } = about;
  const singular = plural.endsWith('ies') ? `${plural.slice(0, -3)}y` : plural.slice(0, -1);
  return { group, versions, plural, singular, shortNames, isClusterScoped: false as const, schema };
}
