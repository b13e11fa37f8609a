export {
  compileHeaderMatchers,
  compileRequestHeaders,
  fractionOf,
  queryParameter,
  type RequestCondition,
  runtimeFractionOf,
} from './conditions.ts';
export { type CompiledCors, compileCors } from './cors.ts';
export { durationMs } from './duration.ts';
export { type CompiledFault, compileFault } from './fault.ts';
export { Field, type FieldRejection, formatRejections, refuseFields } from './field.ts';
export { type ConnectionView, compileFilterChainMatch, type FilterChainTable } from './filter-chain-match.ts';
export type { PerFilterConfig } from './filter-configs.ts';
export { compileFormat, type FormatSource, type ValueFormat } from './format.ts';
export type { HashInput, RequestHash } from './hash-policy.ts';
export { hash32 } from './hash-policy.ts';
export { compileHeaderMutations, type HeaderMutations, type MutableHeaders } from './header-mutations.ts';
export type { PathRewrite } from './path-rewrite.ts';
export type { CompiledRedirect } from './redirect.ts';
export { pathOnly, type RequestView } from './request.ts';
export type { CompiledRetryPolicy, RetryCondition } from './retry-policy.ts';
export type { CompiledMirror, CompiledRouteAction, HostRewrite, MutationLists, RouteTarget } from './route-action.ts';
export { type CompiledAction, type CompiledRoute, type CompiledVirtualHost, compileRouteConfiguration, RouteTable } from './route-table.ts';
export { compileFullMatch, compileStringMatcher, type StringPredicate } from './strings.ts';
export { DomainTable, stripPort } from './virtual-hosts.ts';
