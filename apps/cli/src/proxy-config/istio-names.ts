import { textAt } from './json.ts';

export interface ClusterName {
  readonly direction: string;
  readonly port: string;
  readonly subset: string;
  readonly host: string;
}

/** Takes `outbound|9080|v1|reviews.default.svc.cluster.local` apart; any other name is its own host. Source: Istio BuildSubsetKey. */
export function parseClusterName(name: string): ClusterName {
  const parts = name.split('|');
  if (parts.length !== 4) return { direction: '-', port: '-', subset: '-', host: name };
  const [direction = '', port = '', subset = '', host = ''] = parts;
  return { direction, port, subset: subset || '-', host };
}

/** The `reviews.default` of `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews`, which Istio keeps in the metadata; else ''. */
export function sourceResource(resource: unknown): string {
  const path = textAt(resource, 'metadata', 'filter_metadata', 'istio', 'config');
  const [, namespace, name] = /\/namespaces\/([^/]+)\/[^/]+\/([^/]+)$/.exec(path) ?? [];
  return name === undefined ? '' : `${name}.${namespace}`;
}
