import type { Diagnostic } from '@mizzen/core';
import { type GatewayConfig, type MeshSnapshot, parseGatewayHost, parseProtocol } from '@mizzen/model';
import { listenerKind, serverKind } from '../gateway-servers.ts';
import { report } from './report.ts';

/** Servers of different Gateways for the same proxies that claim the same port and host: the older has it. */
export function conflictingServers(snapshot: MeshSnapshot): Diagnostic[] {
  const owners = new Map<string, string>();
  const diagnostics: Diagnostic[] = [];
  for (const gateway of snapshot.gateways) {
    const selector = selectorKey(gateway);
    for (const [index, server] of gateway.servers.entries()) {
      const isTls = ['https', 'tls'].includes(parseProtocol(server.port.protocol));
      for (const [at, text] of server.hosts.entries()) {
        // Plaintext servers of one port and host are merged, so only TLS can conflict.
        if (!isTls) continue;
        const { host } = parseGatewayHost(text, gateway.namespace);
        const key = `${selector} ${server.port.number} ${host}`;
        const owner = owners.get(key);
        if (owner === undefined) owners.set(key, gateway.key);
        else {
          const message = `port ${server.port.number} and host ${host} are already served by Gateway ${owner}; this server has no effect on it`;
          diagnostics.push(
            report(gateway.resource, { code: 'IST0145', severity: 'error', path: ['spec', 'servers', index, 'hosts', at], message }),
          );
        }
      }
    }
  }
  return diagnostics;
}

/** Servers that cannot share their port with an older one: the kind of the oldest has it, and bytes go to one server only. */
export function unservedServers(snapshot: MeshSnapshot): Diagnostic[] {
  const owners = new Map<string, { readonly kind: string; readonly gateway: string }>();
  return snapshot.gateways.flatMap((gateway) =>
    gateway.servers.flatMap((server, index) => {
      const key = `${selectorKey(gateway)} ${server.bind ?? ''} ${server.port.number}`;
      const kind = listenerKind(serverKind(server));
      const owner = owners.get(key);
      if (owner === undefined) owners.set(key, { kind, gateway: gateway.key });
      if (owner === undefined || (owner.kind === kind && kind !== 'tcp')) return [];
      const message = `port ${server.port.number} already serves ${owner.kind} for Gateway ${owner.gateway}; this server is not served`;
      return [
        report(gateway.resource, { code: 'IST0145', severity: 'error', path: ['spec', 'servers', index, 'port', 'number'], message }),
      ];
    }),
  );
}

function selectorKey({ selector }: GatewayConfig): string {
  return JSON.stringify(Object.entries(selector).sort());
}
