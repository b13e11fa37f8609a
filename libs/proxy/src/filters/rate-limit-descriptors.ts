import type { CompiledRateLimit, RateLimitEntry, RateLimitSource } from '@mizzen/matching';
import type { HttpStream } from '../http/http-stream.ts';

/** Whether the limits of the virtual host count besides those of the route. */
export type VirtualHostRateLimits = 'override' | 'include' | 'ignore';

const VH_OPTIONS: readonly VirtualHostRateLimits[] = ['override', 'include', 'ignore'];

/** The same numbers in both messages. */
export function virtualHostRateLimits(option: number): VirtualHostRateLimits {
  return VH_OPTIONS[option] ?? 'override';
}

/** What is limited of a request: the descriptors that the route and its virtual host make of it. */
export function describeRequest(
  stream: HttpStream,
  options: {
    readonly stage: number;
    readonly virtualHost: VirtualHostRateLimits;
    /** By its key; without it all are. */
    readonly isOn?: (disableKey: string) => boolean;
  },
): readonly (readonly RateLimitEntry[])[] {
  const { route } = stream;
  if (route?.action.kind !== 'route') return [];
  const own = route.action.route.rateLimits;
  const ofHost = route.virtualHost.rateLimits;
  if (own.length === 0 && ofHost.length === 0) return [];
  const virtualHost = route.action.route.includesVirtualHostRateLimits ? 'include' : options.virtualHost;
  const source = sourceOf(stream);
  const isInForce = ({ stage, disableKey }: CompiledRateLimit): boolean =>
    stage === options.stage && (disableKey === '' || (options.isOn?.(disableKey) ?? true));
  const descriptors = describeAll(own.filter(isInForce), source);
  if (virtualHost === 'include' || (virtualHost === 'override' && own.length === 0))
    descriptors.push(...describeAll(ofHost.filter(isInForce), source));
  return descriptors;
}

function describeAll(limits: readonly CompiledRateLimit[], source: RateLimitSource): (readonly RateLimitEntry[])[] {
  return limits.flatMap((limit) => {
    const entries = limit.describe(source);
    return entries === undefined ? [] : [entries];
  });
}

function sourceOf({ info, target, runtime }: HttpStream): RateLimitSource {
  return {
    request: info,
    sourceCluster: runtime.context.nodeCluster,
    destinationCluster: target?.cluster ?? '',
    clientHost: hostOf(info.downstreamRemoteAddress),
    dynamicMetadata: (namespace) => info.dynamicMetadata?.get(namespace),
  };
}

/** `127.0.0.1:80`, `[::1]:80`; '' for a pipe. */
function hostOf(address: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:/]+)):\d+$/.exec(address);
  return match?.[1] ?? match?.[2] ?? '';
}
