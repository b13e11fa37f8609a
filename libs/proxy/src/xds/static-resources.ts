import { errorMessage, MizzenError } from '@mizzen/core';
import { packAny } from '@mizzen/xds-api';
import type { Bootstrap } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { ClusterSchema } from '@mizzen/xds-api/envoy/config/cluster/v3/cluster';
import { ListenerSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import type { ProxyResources } from './proxy-resources.ts';

/** Puts the secrets of a bootstrap in force. Throws MIZZEN_BOOTSTRAP with the place of one that cannot be used. */
export function addStaticSecrets(resources: ProxyResources, { staticResources }: Bootstrap): void {
  addEach(resources, 'secret', staticResources?.secrets ?? [], (secret) => ({ name: secret.name, body: packAny(SecretSchema, secret) }));
}

/** The same for its clusters. */
export function addStaticClusters(resources: ProxyResources, { staticResources }: Bootstrap): void {
  addEach(resources, 'cluster', staticResources?.clusters ?? [], (cluster) => ({
    name: cluster.name,
    body: packAny(ClusterSchema, cluster),
  }));
}

/** The same for its listeners, which are bound. One without a name gets one by its place. */
export function addStaticListeners(resources: ProxyResources, { staticResources }: Bootstrap): void {
  addEach(resources, 'listener', staticResources?.listeners ?? [], (listener, index) => ({
    name: listener.name || `listener_${index}`,
    body: packAny(ListenerSchema, listener),
  }));
}

function addEach<T>(
  resources: ProxyResources,
  kind: 'secret' | 'cluster' | 'listener',
  messages: readonly T[],
  describe: (message: T, index: number) => { name: string; body: ReturnType<typeof packAny> },
): void {
  messages.forEach((message, index) => {
    try {
      resources.addStatic(kind, { ...describe(message, index), version: '' });
    } catch (thrown) {
      const reason = errorMessage(thrown);
      throw new MizzenError(
        'MIZZEN_BOOTSTRAP',
        `the bootstrap cannot be used: static_resources.${kind}s[${index}]${/^[a-z_]+[.[:]/.test(reason) ? '.' : ': '}${reason}`,
        { cause: thrown },
      );
    }
  });
}
