import { isIP } from 'node:net';
import { isHeadless, isOfKubernetes, isWildcardHost, parseServiceHost, type Service } from '@mizzen/model';

export interface DomainOptions {
  readonly port: number;
  /** Namespace of the client: it may leave out what is its own. */
  readonly namespace: string;
  readonly domain: string;
  /** With the port, without it (the listener ignores ports), or both (the listener is for this port only, or the port is HTTP's own). */
  readonly forms: 'with-port' | 'without-port' | 'both';
}

/**
 * Every authority that means a service port to a client: the host, its shorter forms, its virtual addresses.
 * Source: istio pilot/pkg/networking/core/httproute.go generateVirtualHostDomains (1.32 dev).
 */
export function serviceDomains(service: Service, options: DomainOptions & { readonly addresses: readonly string[] }): string[] {
  const aliases = hostAliases(service.host, options);
  // The endpoints of a headless service have names below its own.
  const members = isHeadless(service) && isOfKubernetes(service) ? aliases.map((alias) => `*.${alias}`) : [];
  return withPorts([...aliases, ...members, ...options.addresses.flatMap(addressName)], options);
}

export function hostDomains(host: string, options: DomainOptions): string[] {
  return withPorts(hostAliases(host, options), options);
}

function withPorts(names: readonly string[], { port, forms }: DomainOptions): string[] {
  return names.flatMap((name) => [...(forms === 'with-port' ? [] : [name]), ...(forms === 'without-port' ? [] : [`${name}:${port}`])]);
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
