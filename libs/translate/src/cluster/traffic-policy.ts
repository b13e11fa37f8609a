import type { DestinationRuleConfig, TrafficPolicy } from '@mizzen/model';

/** The blocks of a traffic policy that hold for one port of one cluster. */
export type PortPolicy = Pick<TrafficPolicy, 'connectionPool' | 'loadBalancer' | 'outlierDetection' | 'tls'>;

/** What a rule says about a port of a service, or about a port of one of its subsets. */
export function policyFor(rule: DestinationRuleConfig | undefined, port: number, subset?: { trafficPolicy?: TrafficPolicy }): PortPolicy {
  const top = mergePolicy({}, rule?.trafficPolicy, port);
  return subset === undefined ? top : mergePolicy(top, subset.trafficPolicy, port);
}

/**
 * Lays a policy over another, block by block. Settings for the port replace all four blocks: what they leave out is default, not inherited.
 * Source: istio pilot/pkg/networking/util/util.go MergeTrafficPolicy (1.32 dev).
 */
function mergePolicy(base: PortPolicy, policy: TrafficPolicy | undefined, port: number): PortPolicy {
  if (policy === undefined) return base;
  const ofPort = policy.portLevelSettings?.find((settings) => settings.port?.number === port);
  if (ofPort !== undefined) return pickBlocks(ofPort);
  return { ...base, ...pickBlocks(policy) };
}

function pickBlocks(policy: PortPolicy): PortPolicy {
  const { connectionPool, loadBalancer, outlierDetection, tls } = policy;
  return {
    ...(connectionPool && { connectionPool }),
    ...(loadBalancer && { loadBalancer }),
    ...(outlierDetection && { outlierDetection }),
    ...(tls && { tls }),
  };
}
