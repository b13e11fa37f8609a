import { isIP } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  isHeadless,
  isOfKubernetes,
  type OutboundScope,
  type ProxyView,
  parseServiceHost,
  type Service,
  type ServiceEndpoints,
} from '@mizzen/model';
import { type NameTable_NameInfoSchema, NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { IdentityMemo } from '../memo.ts';
import type { Init } from '../messages.ts';
import { resourceOfBytes, type TranslatedResource, type TranslateResult } from '../result.ts';

type NameInfo = Init<typeof NameTable_NameInfoSchema>;

/** There is one for a proxy, so that its name means nothing. */
const NAME_TABLE = 'name-table';

const translated = new IdentityMemo<readonly TranslatedResource[]>();
const headlessOf = new IdentityMemo<readonly Service[]>();
const entries = new IdentityMemo<Map<string, Uint8Array>>();

/**
 * The names that a proxy answers for its applications, with their addresses: those of each service, those of its endpoints where it has
 * none. Shorter forms are the agent's to derive, from the short name and the namespace.
 * Source: istio pkg/dns/server/name_table.go BuildNameTable (1.32 dev).
 */
export function translateNameTable(view: Pick<ProxyView, 'outboundScope' | 'endpoints'>): TranslateResult {
  const { outboundScope: scope, endpoints } = view;
  const headless = headlessOf.get([scope], () => scope.services.filter(isHeadless));
  const resources = translated.get([scope, ...headless.map((service) => endpoints.get(service))], () => {
    const table = scope.services.map((service) => encodedEntries(service, scope, endpoints));
    return [resourceOfBytes(NameTableSchema, NAME_TABLE, Buffer.concat(table))];
  });
  return { resources, diagnostics: [] };
}

/** The part of the table that is about a service, encoded once for all scopes: maps of protobuf are repeated entries. */
function encodedEntries(service: Service, scope: OutboundScope, endpoints: ReadonlyMap<Service, ServiceEndpoints>): Uint8Array {
  const own = isHeadless(service) ? endpoints.get(service) : undefined;
  const addresses = scope.addressesOf(service).filter((address) => isIP(address) !== 0);
  const variants = entries.get([service, own], () => new Map());
  const key = [scope.domain, ...addresses].join();
  let bytes = variants.get(key);
  if (bytes === undefined) {
    const table = entriesOf(service, { domain: scope.domain, addresses, members: membersOf(own) });
    bytes = toBinary(NameTableSchema, create(NameTableSchema, { table }));
    variants.set(key, bytes);
  }
  return bytes;
}

interface ServiceNames {
  readonly domain: string;
  readonly addresses: readonly string[];
  readonly members: ReadonlyMap<string, string>;
}

function entriesOf(service: Service, { domain, addresses, members }: ServiceNames): Record<string, NameInfo> {
  const about = { registry: isOfKubernetes(service) ? 'Kubernetes' : 'External', ...shortName(service, domain) };
  const ips = addresses.length > 0 ? [...addresses] : [...members.keys()];
  const table: Record<string, NameInfo> = ips.length > 0 ? { [service.host]: { ips, ...about } } : {};
  for (const [hostname, own] of byHostname(members))
    table[`${hostname}.${service.host}`] = { ips: own, ...about, ...(about.shortname && { shortname: `${hostname}.${about.shortname}` }) };
  return table;
}

/** Names below the mesh's own domain can be left short by applications, whoever declared them. */
function shortName(service: Service, domain: string): Pick<NameInfo, 'shortname' | 'namespace'> {
  const parts = parseServiceHost(service.host, domain);
  return parts === undefined ? {} : { shortname: parts.name, namespace: parts.namespace };
}

/** Addresses of the endpoints of any port, with the hostname of each, in a fixed order. */
function membersOf(endpoints: ServiceEndpoints | undefined): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  for (const ofPort of endpoints?.byPort.values() ?? [])
    for (const { address, hostname } of ofPort) if (isIP(address) !== 0) members.set(address, hostname);
  return new Map([...members].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function byHostname(members: ReadonlyMap<string, string>): Map<string, string[]> {
  const byName = new Map<string, string[]>();
  for (const [address, hostname] of members) if (hostname !== '') byName.set(hostname, [...(byName.get(hostname) ?? []), address]);
  return byName;
}
