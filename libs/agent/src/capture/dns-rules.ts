import type { CaptureOptions } from './capture-options.ts';
import { CHAIN, type IpFamily, ofFamily, type Rule, rule } from './rule.ts';

/** Questions of the workload, and what the agent asks and answers, are connections of different zones to the kernel. */
const ZONE = { upstream: 1, workload: 2 } as const;

/**
 * The rules by which DNS questions of the workload reach the agent. Two zones keep apart what the workload asked the agent and what the
 * agent asked the server, which may look the same to the kernel. A server on loopback (Docker's 127.0.0.11) gets none: its answers leave
 * from another port, which only rules of Docker's in the zone of the question put right.
 * Source: istio SetupDNSRedir and addDNSConntrackZones.
 */
export function dnsRules(options: CaptureOptions, family: IpFamily): readonly Rule[] {
  const destinations = options.dnsServers === '*' ? [undefined] : ofFamily(options.dnsServers, family);
  if (destinations.length === 0) return [];
  const redirects = ['tcp', 'udp'].flatMap((protocol) =>
    destinations.map((server) =>
      rule('nat', CHAIN.outputDns, `-p ${protocol} --dport 53${to('-d', server)} -j REDIRECT --to-ports ${options.dnsPort}`),
    ),
  );
  const zoned = destinations.filter((server) => server === undefined || !isLoopback(server));
  return [...redirects, ...(zoned.length > 0 ? zoneRules(options, { family, servers: zoned }) : [])];
}

function zoneRules(
  options: CaptureOptions,
  { family, servers }: { readonly family: IpFamily; readonly servers: readonly (string | undefined)[] },
): readonly Rule[] {
  const raw = (chain: string, match: string): Rule => rule('raw', chain, match);
  const notLoopback = family === 'ipv4' ? '! -d 127.0.0.0/8' : '! -d ::1/128';
  const owners = [...options.proxyUids.map((uid) => `--uid-owner ${uid}`), ...options.proxyGids.map((gid) => `--gid-owner ${gid}`)];
  return [
    raw('OUTPUT', `-j ${CHAIN.outputDns}`),
    raw('PREROUTING', `-j ${CHAIN.inbound}`),
    ...owners.flatMap((owner) => [
      raw(CHAIN.outputDns, `${notLoopback} -p udp --dport 53 -m owner ${owner} -j CT --zone ${ZONE.upstream}`),
      raw(CHAIN.outputDns, `${notLoopback} -p udp --sport ${options.dnsPort} -m owner ${owner} -j CT --zone ${ZONE.workload}`),
    ]),
    ...servers.flatMap((server) => [
      raw(
        CHAIN.outputDns,
        `${server === undefined ? `${notLoopback} ` : ''}-p udp --dport 53${to('-d', server)} -j CT --zone ${ZONE.workload}`,
      ),
      raw(
        CHAIN.inbound,
        `${server === undefined ? `${notLoopback.replace('-d', '-s')} ` : ''}-p udp --sport 53${to('-s', server)} -j CT --zone ${ZONE.upstream}`,
      ),
    ]),
  ];
}

function to(flag: string, server: string | undefined): string {
  return server === undefined ? '' : ` ${flag} ${server}/${server.includes(':') ? 128 : 32}`;
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
