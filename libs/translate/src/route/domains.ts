import { isIP } from 'node:net';
import { isWildcardHost, parseServiceHost, type Service } from '@mizzen/model';

export interface DomainOptions {
  readonly port: number;
  /** Namespace of the client: it may leave out what is its own. */
  readonly namespace: string;
  readonly domain: string;
  /** Also without port: where the listener is for this port only, or the port is HTTP's own. */
  readonly withoutPort: boolean;
}

/**
 * Every authority that means a service port to a client: the host, its shorter forms, its virtual addresses.
 * Source: istio pilot/pkg/networking/core/httproute.go generateVirtualHostDomains (1.32 dev).
 */
export function serviceDomains(service: Service, options: DomainOptions): string[] {
  const names = [...hostAliases(service.host, options), ...service.addresses.flatMap(addressName)];
  return withPorts(names, options);
}

export function hostDomains(host: string, options: DomainOptions): string[] {
  return withPorts(hostAliases(host, options), options);
}

function withPorts(names: readonly string[], { port, withoutPort }: DomainOptions): string[] {
  return names.flatMap((name) => (withoutPort ? [name, `${name}:${port}`] : [`${name}:${port}`]));
}

function hostAliases(host: string, { namespace, domain }: DomainOptions): string[] {
  if (isWildcardHost(host) || isIP(host) !== 0) return [host];
  const parts = parseServiceHost(host, domain);
  const full = [host, `${host}.`];
  if (parts === undefined) return full;
  const qualified = `${parts.name}.${parts.namespace}`;
  return [...full, `${qualified}.svc`, qualified, ...(parts.namespace === namespace ? [parts.name] : [])];
}

// Ranges have no name; IPv6 addresses stand in brackets.
function addressName(address: string): string[] {
  const version = isIP(address);
  return version === 4 ? [address] : version === 6 ? [`[${address}]`] : [];
}
