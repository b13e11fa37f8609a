import { createHash } from 'node:crypto';
import type { Resource } from '@mizzen/mesh-api';
import { clientSelectorsOf } from './destination-rule.ts';
import type { ServiceEndpoints } from './endpoints.ts';
import { gatewaysOf } from './gateway.ts';
import { type GatewayPorts, gatewayPorts } from './gateway-ports.ts';
import { buildInbound, buildPassthrough, type InboundService, type PassthroughPort } from './inbound.ts';
import { selects } from './labels.ts';
import { findSidecar, type MeshSnapshot } from './mesh-snapshot.ts';
import { buildOutboundScope, type OutboundScope } from './outbound-scope.ts';
import { isCaptured, type ProxyNode } from './proxy-node.ts';
import { hasGlobalRule, rateLimitsOf } from './rate-limit.ts';
import type { Service } from './service.ts';

/** All that one proxy may see: the complete input of translation. */
export interface ProxyView {
  readonly revision: number;
  readonly node: ProxyNode;
  readonly mesh: MeshSnapshot['mesh'];
  readonly trustDomains: readonly string[];
  /** Shared: the same object for every proxy of this snapshot that may see the same. */
  readonly outboundScope: OutboundScope;
  readonly inbound: readonly InboundService[];
  /** Captured proxies only: what becomes of connections to ports that no service has. */
  readonly inboundPassthrough: readonly PassthroughPort[];
  /** Gateways only. */
  readonly gatewayPorts: GatewayPorts;
  readonly endpoints: ReadonlyMap<Service, ServiceEndpoints>;
  /** What is limited where requests come in: at the ports of a workload, or of a gateway. Oldest first. */
  readonly rateLimits: readonly Resource<'RateLimit'>[];
}

/** Builds what a proxy may see. Cheap where another proxy with the same scope was asked for before. */
export function buildProxyView(snapshot: MeshSnapshot, node: ProxyNode): ProxyView {
  const sidecar = node.type === 'sidecar' ? findSidecar(snapshot, node) : undefined;
  const gateways = node.type === 'router' ? gatewaysOf(snapshot.gateways, node.labels) : [];
  const sidecarName = sidecar === undefined ? '' : `${sidecar.metadata.namespace}/${sidecar.metadata.name}`;
  const rateLimits = rateLimitsOf(snapshot.rateLimits, node);
  // The limits of a gateway stand in its routes; a sidecar's stand in its listeners, and only the service that counts in its clusters.
  const routeLimits = node.type === 'router' ? rateLimits : [];
  const asksRateLimitService = hasGlobalRule(rateLimits);
  const limitKeys = [asksRateLimitService, routeLimits.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)];
  const key = scopeKey(snapshot, node, [sidecarName, gateways.map((gateway) => gateway.key), limitKeys]);
  let outboundScope = snapshot.scopes.get(key);
  if (outboundScope === undefined) {
    const { type, client, ipFamily, hasDnsCapture, namespace, labels } = node;
    outboundScope = buildOutboundScope(snapshot, {
      ...{ key, type, client, ipFamily, hasDnsCapture, namespace, labels, sidecar, gateways },
      isCaptured: isCaptured(node),
      rateLimits: routeLimits,
      asksRateLimitService,
    });
    snapshot.scopes.set(key, outboundScope);
  }
  const inbound = node.type === 'sidecar' ? buildInbound(snapshot, node, sidecar) : [];
  return {
    revision: snapshot.revision,
    node,
    mesh: snapshot.mesh,
    trustDomains: snapshot.workloads.context.trustDomains,
    outboundScope,
    inbound,
    inboundPassthrough: isCaptured(node) ? buildPassthrough(snapshot, node, { inbound, sidecar }) : [],
    gatewayPorts: gatewayPorts(snapshot, node),
    endpoints: snapshot.endpoints,
    rateLimits,
  };
}

// Every input of the scope that depends on the proxy. Selectors count by their answer, so that replicas and versions share a scope.
function scopeKey(snapshot: MeshSnapshot, node: ProxyNode, selected: readonly unknown[]): string {
  const ruleAnswers = clientSelectorsOf(snapshot.destinationRules, node.namespace).map((selector) => selects(selector, node.labels));
  const sourceAnswers = snapshot.virtualServices.flatMap(({ sourceSelectors }) =>
    sourceSelectors.map((selector) => selects(selector, node.labels)),
  );
  const answers = [...ruleAnswers, ...sourceAnswers].map(Number).join('');
  const { type, client, ipFamily, hasDnsCapture, namespace } = node;
  const text = JSON.stringify([type, client, isCaptured(node), ipFamily, hasDnsCapture, namespace, selected, answers]);
  return createHash('sha256').update(text).digest('base64url');
}
