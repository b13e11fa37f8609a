import type { VirtualCluster } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import { compileRequestHeaders } from './conditions.ts';
import type { Field } from './field.ts';
import type { RequestView } from './request.ts';

/** A group of requests of a virtual host that is counted on its own. */
export interface CompiledVirtualCluster {
  readonly name: string;
  /** It takes what no group does: counted, but no name that access logs print. */
  readonly isCatchAll?: boolean;
}

export type VirtualClusterChoice = (request: RequestView) => CompiledVirtualCluster | undefined;

const NONE: VirtualClusterChoice = () => undefined;

/** The first group that takes a request, else `other`; none where no group is named. Source: envoy VirtualHostImpl::virtualClusterFromEntries (1.40). */
export function compileVirtualClusters(messages: readonly VirtualCluster[], field: Field): VirtualClusterChoice {
  if (messages.length === 0) return NONE;
  const groups = messages.map((message, index) => {
    const at = field.at(index);
    if (message.name === '') at.child('name').reject('is required');
    if (message.headers.length === 0) at.child('headers').reject('needs at least one matcher');
    return { group: { name: message.name }, conditions: compileRequestHeaders(message.headers, at) };
  });
  const other: CompiledVirtualCluster = { name: 'other', isCatchAll: true };
  return (request) => groups.find(({ conditions }) => conditions.every((holds) => holds(request)))?.group ?? other;
}
