export {
  compileHeaderMatchers,
  compileQueryParameters,
  compileRequestHeaders,
  fractionOf,
  queryParameter,
  type RequestCondition,
  runtimeFractionOf,
} from './conditions.ts';
export { type CompiledCors, compileCors, mergeCors } from './cors.ts';
export { inlineBody } from './data-source.ts';
export { durationMs } from './duration.ts';
export { type CompiledFault, compileFault, type FaultShare } from './fault.ts';
export { Field, type FieldRejection, formatRejections, refuseFields } from './field.ts';
export { type ConnectionView, compileFilterChainMatch, type FilterChainTable } from './filter-chain-match.ts';
export {
  type FilterConfigCompiler,
  type FilterConfigCompilers,
  filterConfigKey,
  NO_FILTER_CONFIG,
  PerFilterConfig,
} from './filter-configs.ts';
export { compileFormat, type FormatSource, type ValueFormat } from './format.ts';
export type { HashInput, RequestHash } from './hash-policy.ts';
export { hash32 } from './hash-policy.ts';
export { compileHeaderMutations, type HeaderMutations, type MutableHeaders } from './header-mutations.ts';
export type { CompiledInternalRedirect, RedirectPredicate } from './internal-redirect.ts';
export { faultOf, MESH_FILTER_CONFIGS } from './mesh-filter-configs.ts';
export { compileMetadataMatcher, type MetadataReader, type ValuePredicate, valueAt } from './metadata-matcher.ts';
export { compilePathMatch, type PathMatch } from './path-match.ts';
export type { PathRewrite } from './path-rewrite.ts';
export { type CompiledRateLimit, compileRateLimits, type RateLimitEntry, type RateLimitSource } from './rate-limits.ts';
export type { CompiledRedirect } from './redirect.ts';
export { pathOnly, type RequestView } from './request.ts';
export { type CompiledRetryPolicy, NO_RETRIES, RETRY_CONDITIONS, type RetryCondition } from './retry-policy.ts';
export type { CompiledMirror, CompiledRouteAction, HostRewrite } from './route-action.ts';
export {
  type CompiledAction,
  type CompiledRoute,
  type CompiledVirtualHost,
  compileRouteConfiguration,
  RouteTable,
  type TracingReader,
} from './route-table.ts';
export type { MutationLists, RouteTarget } from './route-targets.ts';
export { compileFullMatch, compileStringMatcher, compileSubstitution, type StringPredicate } from './strings.ts';
export type { CompiledVirtualCluster } from './virtual-clusters.ts';
export { DomainTable, stripPort } from './virtual-hosts.ts';
export { xxHash64 } from './xx-hash.ts';
