import type { Resource } from '@mizzen/mesh-api';
import { byAge } from './age.ts';
import { type Labels, selects } from './labels.ts';

/** What an inbound port accepts. */
export type MtlsMode = 'disable' | 'permissive' | 'strict';

/** What a workload's ports accept: `byPort` where a port was given a mode of its own. */
export interface MtlsPolicy {
  readonly mode: MtlsMode;
  readonly byPort: ReadonlyMap<number, MtlsMode>;
}

export function mtlsModeOf(policy: MtlsPolicy, port: number): MtlsMode {
  return policy.byPort.get(port) ?? policy.mode;
}

/** All PeerAuthentications, ready to be asked for one workload's. */
export interface PeerAuthenticationIndex {
  readonly mesh: MtlsMode;
  readonly byNamespace: ReadonlyMap<string, NamespacePolicies>;
}

interface NamespacePolicies {
  readonly mode: MtlsMode | undefined;
  readonly workloads: readonly { selector: Labels; mode: MtlsMode | undefined; ports: ReadonlyMap<number, MtlsMode> }[];
}

const MODES: Readonly<Record<string, MtlsMode>> = { DISABLE: 'disable', PERMISSIVE: 'permissive', STRICT: 'strict' };

/**
 * The oldest policy of a scope wins; policies with a selector in the root namespace are ignored.
 * Source: istio pilot/pkg/model/authentication.go addPeerAuthentication (1.32 dev).
 */
export function buildPeerAuthenticationIndex(
  resources: readonly Resource<'PeerAuthentication'>[],
  rootNamespace: string,
): PeerAuthenticationIndex {
  const byNamespace = new Map<
    string,
    { mode: MtlsMode | undefined; isDecided: boolean; workloads: NamespacePolicies['workloads'][number][] }
  >();
  for (const { spec, metadata } of byAge(resources)) {
    const policies = byNamespace.get(metadata.namespace) ?? { mode: undefined, isDecided: false, workloads: [] };
    byNamespace.set(metadata.namespace, policies);
    const mode = modeOf(spec.mtls?.mode);
    const selector = spec.selector?.matchLabels ?? {};
    if (Object.keys(selector).length > 0) {
      if (metadata.namespace !== rootNamespace) policies.workloads.push({ selector, mode, ports: portModes(spec.portLevelMtls) });
    } else if (!policies.isDecided) {
      policies.mode = mode;
      policies.isDecided = true;
    }
  }
  return { mesh: byNamespace.get(rootNamespace)?.mode ?? 'permissive', byNamespace };
}

function modeOf(mode: string | undefined): MtlsMode | undefined {
  return mode === undefined ? undefined : MODES[mode];
}

function portModes(portLevelMtls: Resource<'PeerAuthentication'>['spec']['portLevelMtls']): ReadonlyMap<number, MtlsMode> {
  const ports = new Map<number, MtlsMode>();
  for (const [port, policy] of Object.entries(portLevelMtls ?? {})) {
    const mode = modeOf(policy.mode);
    if (mode !== undefined) ports.set(Number(port), mode);
  }
  return ports;
}

/** What a workload accepts: its own policy before its namespace's before the mesh's; PERMISSIVE where nothing says. */
export function resolvePeerAuthentication(index: PeerAuthenticationIndex, workload: { namespace: string; labels: Labels }): MtlsPolicy {
  const policies = index.byNamespace.get(workload.namespace);
  const inherited = policies?.mode ?? index.mesh;
  const own = policies?.workloads.find(({ selector }) => selects(selector, workload.labels));
  return own === undefined ? { mode: inherited, byPort: NO_PORTS } : { mode: own.mode ?? inherited, byPort: own.ports };
}

const NO_PORTS: ReadonlyMap<number, MtlsMode> = new Map();
