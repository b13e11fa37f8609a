import { isIP } from 'node:net';
import type { NameTable, NameTable_NameInfo } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { reverseName } from './addresses.ts';

/** Who asks: short names mean something else in each namespace. */
export interface NameContext {
  readonly namespace: string;
  /** Of the node: `default.svc.cluster.local`. */
  readonly domain: string;
  readonly searchDomains: readonly string[];
}

export type NameRecord =
  | { readonly type: 'A' | 'AAAA'; readonly name: string; readonly address: string }
  | { readonly type: 'CNAME' | 'PTR'; readonly name: string; readonly target: string };

interface Addresses {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

/** The names of the mesh, as one workload asks for them. Immutable; made anew with every name table. */
export interface NameIndex {
  readonly size: number;
  /** Records for a question; none where the name is known and has no such record; undefined where the name is not the mesh's. */
  lookup(name: string, type: string): readonly NameRecord[] | undefined;
  /** Whether the mesh knows the name at all. */
  knows(name: string): boolean;
}

/** Source: istio pkg/dns/client/dns.go (1.32), and RFC 1035 3.5 for reverse names, which Istio forwards. */
export function buildNameIndex(tables: Iterable<NameTable>, context: NameContext): NameIndex {
  const hosts = new Map<string, Addresses>();
  const reverse = new Map<string, string[]>();
  for (const { table } of tables) {
    for (const [host, info] of Object.entries(table)) {
      const addresses = addressesOf(info);
      if (addresses.v4.length + addresses.v6.length === 0) continue;
      const fqdn = normalize(host);
      for (const name of [fqdn, ...alternates(fqdn, info, context)]) hosts.set(name, addresses);
      if (!fqdn.startsWith('*.')) for (const address of info.ips) addReverse(reverse, address, fqdn);
    }
  }
  return new Index(hosts, reverse, context.searchDomains[0]);
}

/** Lower case, without the dot at the end: how names are compared. Source: RFC 1035 2.3.3. */
export function normalize(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}

class Index implements NameIndex {
  readonly #hosts: ReadonlyMap<string, Addresses>;
  readonly #reverse: ReadonlyMap<string, readonly string[]>;
  readonly #firstSearchDomain: string | undefined;

  constructor(hosts: ReadonlyMap<string, Addresses>, reverse: ReadonlyMap<string, readonly string[]>, searchDomain: string | undefined) {
    this.#hosts = hosts;
    this.#reverse = reverse;
    this.#firstSearchDomain = searchDomain;
  }

  get size(): number {
    return this.#hosts.size;
  }

  lookup(name: string, type: string): readonly NameRecord[] | undefined {
    if (type === 'PTR') return this.#reverse.get(normalize(name))?.map((target) => ({ type, name, target }));
    if (type !== 'A' && type !== 'AAAA') return undefined;
    const asked = normalize(name);
    const direct = this.#addressesOf(asked);
    if (direct !== undefined) return recordsOf(type, name, direct);
    // A resolver tries its search domains before the name itself. A chained answer spares it the other questions.
    const meant = this.#withoutSearchDomain(asked);
    const found = meant === undefined ? undefined : this.#addressesOf(meant);
    if (meant === undefined || found === undefined) return undefined;
    const records = recordsOf(type, meant, found);
    return records.length === 0 ? [] : [{ type: 'CNAME', name, target: meant }, ...records];
  }

  knows(name: string): boolean {
    const asked = normalize(name);
    const meant = this.#withoutSearchDomain(asked);
    return this.#addressesOf(asked) !== undefined || (meant !== undefined && this.#addressesOf(meant) !== undefined);
  }

  // The longest wildcard wins, as the more specific one.
  #addressesOf(name: string): Addresses | undefined {
    const exact = this.#hosts.get(name);
    if (exact !== undefined) return exact;
    for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
      const wildcard = this.#hosts.get(`*${name.slice(dot)}`);
      if (wildcard !== undefined) return wildcard;
    }
    return undefined;
  }

  // Only the first one, which is asked first; a name with a later one is asked only when there was no answer to this.
  #withoutSearchDomain(name: string): string | undefined {
    const domain = this.#firstSearchDomain;
    return domain !== undefined && name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : undefined;
  }
}

function recordsOf(type: 'A' | 'AAAA', name: string, { v4, v6 }: Addresses): NameRecord[] {
  return (type === 'A' ? v4 : v6).map((address) => ({ type, name, address }));
}

function addressesOf({ ips }: NameTable_NameInfo): Addresses {
  return { v4: ips.filter((ip) => isIP(ip) === 4), v6: ips.filter((ip) => isIP(ip) === 6) };
}

/** `reviews` (in its own namespace), `reviews.default`, `reviews.default.svc`: only below the domain that the workload is itself in. */
function alternates(fqdn: string, { shortname, namespace }: NameTable_NameInfo, context: NameContext): string[] {
  if (shortname === '' || namespace === '') return [];
  const domain = normalize(context.domain);
  const clusterDomain = domain.startsWith(`${context.namespace}.`) ? domain.slice(context.namespace.length + 1) : domain;
  if (clusterDomain === '' || !fqdn.endsWith(`.${clusterDomain}`)) return [];
  const name = normalize(`${shortname}.${namespace}`);
  const own = namespace === context.namespace ? [normalize(shortname)] : [];
  return [...own, name, `${name}.${clusterDomain.split('.', 1)[0]}`];
}

function addReverse(reverse: Map<string, string[]>, address: string, fqdn: string): void {
  const name = reverseName(address);
  if (name === undefined) return;
  const known = reverse.get(name);
  if (known === undefined) reverse.set(name, [fqdn]);
  else if (!known.includes(fqdn)) known.push(fqdn);
}
