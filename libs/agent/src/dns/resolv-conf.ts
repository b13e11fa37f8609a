import { isIP } from 'node:net';

/** What a resolver is configured with. Source: resolv.conf(5). */
export interface ResolvConf {
  /** IP addresses, in the order in which they are asked. */
  readonly servers: readonly string[];
  /** Lower case, without a dot at the end. */
  readonly searchDomains: readonly string[];
}

/** Reads the text of a resolv.conf. What is not understood counts for nothing, as for the C library. */
export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let searchDomains: readonly string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && isIP(withoutZone(values[0] ?? '')) !== 0) servers.push(values[0] as string);
    // The last of "search" and "domain" counts.
    if (keyword === 'search' || keyword === 'domain') searchDomains = values.map(normalize).filter((domain) => domain !== '');
  }
  return { servers, searchDomains };
}

function normalize(domain: string): string {
  return domain.toLowerCase().replace(/\.+$/, '');
}

function withoutZone(address: string): string {
  return address.split('%', 1)[0] ?? '';
}
