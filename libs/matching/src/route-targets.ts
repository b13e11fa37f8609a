import type { JsonObject } from '@bufbuild/protobuf';
import type { Metadata } from '@mizzen/xds-api/envoy/config/core/v3/base';
import type { RouteAction, WeightedCluster, WeightedCluster_ClusterWeight } from '@mizzen/xds-api/envoy/config/route/v3/route_components';
import type { Field } from './field.ts';
import type { FilterConfigCompilers, PerFilterConfig } from './filter-configs.ts';
import { compileHeaderMutations, type HeaderMutations } from './header-mutations.ts';
import type { RequestView } from './request.ts';

/** Request and response header changes in the order in which they apply. */
export interface MutationLists {
  readonly request: readonly HeaderMutations[];
  readonly response: readonly HeaderMutations[];
}

/** Where a request goes once the weights are cast. */
export interface RouteTarget {
  readonly cluster: string;
  /** Overrides the route's; undefined where the target says nothing. */
  readonly hostRewrite: string | undefined;
  /** `envoy.lb` metadata that an endpoint must carry, for clusters with subsets. */
  readonly metadataMatch: JsonObject | undefined;
  readonly mutations: MutationLists;
  readonly filterConfig: PerFilterConfig;
}

/** What every target of a route has in common. */
export interface TargetContext {
  readonly mutations: MutationLists;
  readonly mostSpecificWins: boolean;
  readonly filterConfig: PerFilterConfig;
  readonly filterConfigs: FilterConfigCompilers | undefined;
}

export interface CompiledTargets {
  chooseTarget(request: RequestView): RouteTarget | undefined;
  readonly clusters: readonly string[];
}

const NO_TARGETS: CompiledTargets = { chooseTarget: () => undefined, clusters: [] };

/** Where the requests of a route go: one cluster, one that a header names, or several by weight. */
export function compileTargets(action: RouteAction, context: TargetContext, field: Field): CompiledTargets {
  const { mutations, filterConfig } = context;
  const metadataMatch = balancingMetadata(action.metadataMatch);
  const specifier = action.clusterSpecifier;
  const common = { hostRewrite: undefined, metadataMatch, mutations, filterConfig };
  switch (specifier.case) {
    case 'cluster': {
      const target: RouteTarget = { cluster: specifier.value, ...common };
      return { chooseTarget: () => target, clusters: [specifier.value] };
    }
    case 'clusterHeader': {
      const { value } = specifier;
      if (value === '') field.child('cluster_header').reject('is required');
      return { chooseTarget: namedByHeader({ cluster: '', ...common }, value), clusters: [] };
    }
    case 'weightedClusters':
      return compileWeightedTargets(specifier.value, { ...context, metadataMatch }, field.child('weighted_clusters'));
    case 'inlineClusterSpecifierPlugin':
    case 'clusterSpecifierPlugin':
      field
        .child(specifier.case === 'clusterSpecifierPlugin' ? 'cluster_specifier_plugin' : 'inline_cluster_specifier_plugin')
        .reject('is not supported by this proxy; name the cluster, or weighted_clusters');
      return NO_TARGETS;
    default:
      field.reject('needs one of cluster, weighted_clusters, cluster_header');
      return NO_TARGETS;
  }
}

type Choice = (request: RequestView) => RouteTarget | undefined;

/** The same target, but for the cluster, which is the first value of a header. Source: envoy RouteAction.cluster_header (1.40). */
function namedByHeader(target: RouteTarget, header: string): Choice {
  const name = header.toLowerCase();
  return (request) => {
    const cluster = name === ':authority' || name === 'host' ? request.authority : request.header(name)?.split(',', 1)[0];
    return cluster === undefined || cluster === '' ? undefined : { ...target, cluster };
  };
}

type WeightedContext = TargetContext & { readonly metadataMatch: JsonObject | undefined };

function compileWeightedTargets(message: WeightedCluster, context: WeightedContext, field: Field): CompiledTargets {
  const random = message.randomValueSpecifier;
  const weights = message.clusters.map((cluster) => cluster.weight ?? 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) field.reject('needs a sum of weights above 0');
  if (total > 0xffff_ffff) field.reject('has weights whose sum is above 4294967295');
  const choices = message.clusters.map((cluster, index) => compileWeightedTarget(cluster, context, field.child('clusters', index)));
  const drawn = random.case === 'headerName' ? drawnByHeader(random.value, total) : undefined;
  const chooseTarget: Choice = (request) => {
    let point = drawn?.(request) ?? request.random * total;
    for (let index = 0; index < choices.length; index++) {
      point -= weights[index] as number;
      if (point < 0) return choices[index]?.(request);
    }
    return choices.at(-1)?.(request);
  };
  return { chooseTarget, clusters: message.clusters.map(({ name }) => name).filter((name) => name !== '') };
}

/** A number that the caller chose decides, so that two proxies in a row decide alike. Source: envoy WeightedCluster.header_name (1.40). */
function drawnByHeader(header: string, total: number): (request: RequestView) => number | undefined {
  const name = header.toLowerCase();
  return (request) => {
    const text = request.header(name);
    return text === undefined || !/^\d{1,20}$/.test(text) ? undefined : Number(BigInt(text) % BigInt(total));
  };
}

function compileWeightedTarget(cluster: WeightedCluster_ClusterWeight, context: WeightedContext, field: Field): Choice {
  if ((cluster.name === '') === (cluster.clusterHeader === '')) field.child('name').reject('give one of name and cluster_header');
  const request = compileHeaderMutations(cluster.requestHeadersToAdd, cluster.requestHeadersToRemove, {
    add: field.child('request_headers_to_add'),
    remove: field.child('request_headers_to_remove'),
  });
  const response = compileHeaderMutations(cluster.responseHeadersToAdd, cluster.responseHeadersToRemove, {
    add: field.child('response_headers_to_add'),
    remove: field.child('response_headers_to_remove'),
  });
  const { mutations, mostSpecificWins } = context;
  const target: RouteTarget = {
    cluster: cluster.name,
    hostRewrite: cluster.hostRewriteSpecifier.case === undefined ? undefined : cluster.hostRewriteSpecifier.value,
    metadataMatch: merged(context.metadataMatch, balancingMetadata(cluster.metadataMatch)),
    mutations: {
      request: combine(request, mutations.request, mostSpecificWins),
      response: combine(response, mutations.response, mostSpecificWins),
    },
    filterConfig: context.filterConfig.extend(cluster.typedPerFilterConfig, context.filterConfigs, field),
  };
  return cluster.clusterHeader === '' ? () => target : namedByHeader(target, cluster.clusterHeader);
}

function balancingMetadata(metadata: Metadata | undefined): JsonObject | undefined {
  return metadata?.filterMetadata['envoy.lb'];
}

function merged(outer: JsonObject | undefined, inner: JsonObject | undefined): JsonObject | undefined {
  return inner === undefined ? outer : { ...outer, ...inner };
}

/** The level that applies last wins: the least specific one, unless the route configuration asks for the opposite. */
export function combine(
  inner: HeaderMutations | undefined,
  outer: readonly HeaderMutations[],
  mostSpecificWins: boolean,
): readonly HeaderMutations[] {
  if (inner === undefined) return outer;
  return mostSpecificWins ? [...outer, inner] : [inner, ...outer];
}
