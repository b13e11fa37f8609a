import type { Diagnostic, ResourceRef } from '@mizzen/core';
import { type Resource, refOf } from '@mizzen/mesh-api';
import type { ProxyView } from '@mizzen/model';
import { boundServers, gatewayListenerName, parseOutboundClusterName } from '@mizzen/translate';
import { TYPE_URL } from '@mizzen/xds-api';
import type { ConnectionStatus } from '@mizzen/xds-server';

interface Rejection {
  readonly resource: Resource;
  /** What was refused: `listener 0.0.0.0_8080`. */
  readonly subject: string;
  readonly reason: string;
}

// Ours name one resource a line (`name: why`), Envoy lists them in one (`Error adding/updating cluster(s) name: why`).
const CLUSTER = /outbound\|\d+\|[^|\s]*\|[^\s:,]+/g;
const LISTENER = /\S+_\d+(?=:)/g;

/**
 * What proxies refuse of what was made from Gateways and DestinationRules: a warning on each such resource, with one proxy and its reason.
 * Other rejections are in the status of the proxy only, because it cannot be said surely which resource they come from.
 */
export function rejectionDiagnostics(
  connections: readonly ConnectionStatus[],
  viewOf: (node: ConnectionStatus['node']) => ProxyView,
): Diagnostic[] {
  const found = new Map<string, { readonly rejection: Rejection; readonly proxies: Set<string> }>();
  for (const { node, types } of connections) {
    for (const [typeUrl, { state, reason }] of types) {
      if (state !== 'ERROR' || reason === undefined) continue;
      for (const rejection of reason.split('\n').flatMap((line) => rejectionsOf(typeUrl, line, () => viewOf(node)))) {
        const { kind, namespace, name } = refOf(rejection.resource);
        const key = JSON.stringify([kind, namespace, name, rejection.subject, rejection.reason]);
        const known = found.get(key) ?? { rejection, proxies: new Set<string>() };
        known.proxies.add(node.id);
        found.set(key, known);
      }
    }
  }
  return Array.from(found.values(), ({ rejection, proxies }) => describe(rejection, [...proxies]));
}

function rejectionsOf(typeUrl: string, line: string, view: () => ProxyView): Rejection[] {
  if (typeUrl === TYPE_URL.cluster)
    return unique(line.match(CLUSTER)).flatMap((name) =>
      destinationRules(name, view()).map((resource) => ({ resource, subject: `cluster ${name}`, reason: reasonIn(line, name) })),
    );
  if (typeUrl === TYPE_URL.listener)
    return unique(line.match(LISTENER)).flatMap((name) =>
      gateways(name, view()).map((resource) => ({ resource, subject: `listener ${name}`, reason: reasonIn(line, name) })),
    );
  return [];
}

function destinationRules(clusterName: string, { outboundScope }: ProxyView): readonly Resource[] {
  const host = parseOutboundClusterName(clusterName)?.host;
  return (host === undefined ? undefined : outboundScope.destinationRule(host))?.sources ?? [];
}

function gateways(listenerName: string, { outboundScope, node, gatewayPorts }: ProxyView): readonly Resource[] {
  if (node.type !== 'router') return [];
  const servers = boundServers(outboundScope, gatewayPorts).filter((server) => gatewayListenerName(server) === listenerName);
  return [...new Set(servers.map(({ gateway }) => gateway.resource))];
}

function reasonIn(line: string, name: string): string {
  return line.slice(line.indexOf(name) + name.length).replace(/^:?\s*/, '');
}

function unique(names: RegExpMatchArray | null): string[] {
  return [...new Set(names ?? [])];
}

function describe({ resource, subject, reason }: Rejection, [first, ...others]: readonly string[]): Diagnostic {
  const proxies = others.length === 0 ? first : `${first} and others`;
  const ref: ResourceRef = refOf(resource);
  const { position } = resource;
  return {
    code: 'xds-rejected',
    severity: 'warning',
    resource: ref,
    path: ['spec'],
    ...(position && { position: { file: position.file, line: position.line } }),
    message: `${proxies} refused the ${subject}: ${reason || 'without a reason'}; what it had before stays in force there`,
  };
}
