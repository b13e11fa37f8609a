import type { Resource } from '@mizzen/mesh-api';
import { byAge, Derived } from './age.ts';
import { type Labels, selects } from './labels.ts';

export type GatewayServer = NonNullable<Resource<'Gateway'>['spec']['servers']>[number];

/** One host of a server: `host` in the namespaces that `namespace` says (`*`: any). */
export interface GatewayHost {
  readonly namespace: string;
  readonly host: string;
}

export interface GatewayConfig {
  readonly resource: Resource<'Gateway'>;
  readonly namespace: string;
  readonly name: string;
  /** `<namespace>/<name>`, as VirtualServices name it. */
  readonly key: string;
  readonly selector: Labels;
  readonly servers: readonly GatewayServer[];
}

const derived = new Derived<Resource<'Gateway'>, GatewayConfig>();

/** All Gateways, oldest first. */
export function buildGateways(resources: readonly Resource<'Gateway'>[]): GatewayConfig[] {
  return byAge(resources).map((resource) =>
    derived.of(resource, '', () => {
      const { name, namespace } = resource.metadata;
      return {
        resource,
        namespace,
        name,
        key: `${namespace}/${name}`,
        selector: resource.spec.selector ?? {},
        servers: resource.spec.servers ?? [],
      };
    }),
  );
}

/** The Gateways that a proxy with these labels serves. A Gateway without selector is served by all gateway proxies. */
export function gatewaysOf(gateways: readonly GatewayConfig[], labels: Labels): GatewayConfig[] {
  return gateways.filter((gateway) => selects(gateway.selector, labels));
}

/** Reads `ns/host`, `./host`, `any-namespace/host` or `host`. */
export function parseGatewayHost(text: string, gatewayNamespace: string): GatewayHost {
  const slash = text.indexOf('/');
  if (slash < 0) return { namespace: '*', host: text.toLowerCase() };
  const namespace = text.slice(0, slash);
  return { namespace: namespace === '.' ? gatewayNamespace : namespace, host: text.slice(slash + 1).toLowerCase() };
}
