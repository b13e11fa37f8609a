import type { CaptureOptions } from './capture-options.ts';
import { dnsRules } from './dns-rules.ts';
import { CHAIN, type IpFamily, ofFamily, type Rule, rule } from './rule.ts';

const LOOPBACK: Readonly<Record<IpFamily, string>> = { ipv4: '127.0.0.1/32', ipv6: '::1/128' };
/** Where the proxy calls its workload from. */
const SELF: Readonly<Record<IpFamily, string>> = { ipv4: '127.0.0.6/32', ipv6: '::6/128' };

/**
 * The rules by which connections of a workload reach its proxy, for one family, in order. Rules of the kernel's own chains stand for
 * jumps, and come before whatever else is there. Chains and rules are Istio's, REDIRECT mode.
 * Source: istio tools/istio-iptables/pkg/capture/run.go (1.32 dev).
 */
export function buildCaptureRules(options: CaptureOptions, family: IpFamily): readonly Rule[] {
  return [
    ...virtualInterfaceRules(options, family),
    ...(options.dropsInvalid ? invalidRules() : []),
    ...inboundRules(options),
    rule('nat', 'OUTPUT', `-j ${CHAIN.output}`),
    ...outputRules(options, family),
    ...redirectRules(options),
    ...dnsRules(options, family),
  ];
}

function nat(chain: string, match: string): Rule {
  return rule('nat', chain, match);
}

/** Of a virtual machine in the workload only what it sends is of interest, and that as outbound; the answers to it are not inbound. */
function virtualInterfaceRules(options: CaptureOptions, family: IpFamily): readonly Rule[] {
  const ranges = options.outboundRanges === '*' ? [''] : ofFamily(options.outboundRanges, family).map((range) => ` -d ${range}`);
  return options.virtualInterfaces.flatMap((name) => ranges.map((range) => nat('PREROUTING', `-i ${name}${range} -j ${CHAIN.redirect}`)));
}

function invalidRules(): readonly Rule[] {
  return [rule('mangle', 'PREROUTING', `-m conntrack --ctstate INVALID -j ${CHAIN.drop}`), rule('mangle', CHAIN.drop, '-j DROP')];
}

function inboundRules(options: CaptureOptions): readonly Rule[] {
  const { inboundPorts } = options;
  if (inboundPorts !== '*' && inboundPorts.length === 0) return [];
  // Istio puts these into PREROUTING; here, where cleaning up finds them.
  const leftAlone = [...options.excludedInterfaces, ...options.virtualInterfaces].map((name) => nat(CHAIN.inbound, `-i ${name} -j RETURN`));
  const captured =
    inboundPorts === '*'
      ? [
          ...options.excludedInboundPorts.map((port) => nat(CHAIN.inbound, `-p tcp --dport ${port} -j RETURN`)),
          nat(CHAIN.inbound, `-p tcp -j ${CHAIN.inboundRedirect}`),
        ]
      : inboundPorts.map((port) => nat(CHAIN.inbound, `-p tcp --dport ${port} -j ${CHAIN.inboundRedirect}`));
  return [
    nat('PREROUTING', `-p tcp -j ${CHAIN.inbound}`),
    ...leftAlone,
    nat(CHAIN.inbound, `-p tcp --dport ${options.tunnelPort} -j RETURN`),
    ...captured,
  ];
}

function outputRules(options: CaptureOptions, family: IpFamily): readonly Rule[] {
  const output = (match: string): Rule => nat(CHAIN.output, match);
  return [
    ...options.excludedInterfaces.map((name) => output(`-o ${name} -j RETURN`)),
    ...options.excludedOutboundPorts.flatMap((port) => [
      output(`-p tcp --dport ${port} -j RETURN`),
      output(`-p udp --dport ${port} -j RETURN`),
    ]),
    output(`-o lo -s ${SELF[family]} -j RETURN`),
    ...options.proxyUids.flatMap((uid) => ownerRules(options, family, `--uid-owner ${uid}`).map(output)),
    ...options.proxyGids.flatMap((gid) => ownerRules(options, family, `--gid-owner ${gid}`).map(output)),
    ...groupRules(options).map(output),
    ...(hasDnsServers(options, family) ? [output(`-j ${CHAIN.outputDns}`)] : []),
    output(`-d ${LOOPBACK[family]} -j RETURN`),
    ...ofFamily(options.excludedOutboundRanges, family).map((range) => output(`-d ${range} -j RETURN`)),
    ...options.outboundPorts.map((port) => output(`-p tcp --dport ${port} -j ${CHAIN.redirect}`)),
    ...(options.outboundRanges === '*'
      ? [output(`-j ${CHAIN.redirect}`)]
      : ofFamily(options.outboundRanges, family).map((range) => output(`-d ${range} -j ${CHAIN.redirect}`))),
  ];
}

/** What tells the proxy's own connections from those of the workload. */
function ownerRules(options: CaptureOptions, family: IpFamily, owner: string): readonly string[] {
  const capturesDns = capturesAnyDns(options);
  const spared = capturesDns ? `-m multiport ! --dports 53,${options.tunnelPort}` : `! --dport ${options.tunnelPort}`;
  return [
    // The workload called itself by its service's name: proxy (outbound), proxy (inbound), workload.
    `-o lo ! -d ${LOOPBACK[family]} -p tcp ${spared} -m owner ${owner} -j ${CHAIN.inboundRedirect}`,
    // The workload calls itself by its own address. DNS servers on loopback are captured all the same.
    ...(namesLoopback(options) ? [] : [`-o lo${capturesDns ? ' -p tcp ! --dport 53' : ''} -m owner ! ${owner} -j RETURN`]),
    // Whatever else the proxy sends, so that nothing comes back to it for ever.
    `-m owner ${owner} -j RETURN`,
  ];
}

function groupRules({ ownerGroups, excludedOwnerGroups }: CaptureOptions): readonly string[] {
  if (ownerGroups === '*') return excludedOwnerGroups.map((group) => `-m owner --gid-owner ${group} -j RETURN`);
  return [`${ownerGroups.map((group) => `-m owner ! --gid-owner ${group}`).join(' ')} -j RETURN`];
}

function redirectRules(options: CaptureOptions): readonly Rule[] {
  return [
    nat(CHAIN.redirect, `-p tcp -j REDIRECT --to-ports ${options.outboundPort}`),
    nat(CHAIN.inboundRedirect, `-p tcp -j REDIRECT --to-ports ${options.inboundPort}`),
  ];
}

function namesLoopback({ outboundRanges }: CaptureOptions): boolean {
  return outboundRanges !== '*' && outboundRanges.some((range) => range.startsWith('127.') || range.startsWith('::1'));
}

function capturesAnyDns({ dnsServers }: CaptureOptions): boolean {
  return dnsServers === '*' || dnsServers.length > 0;
}

function hasDnsServers({ dnsServers }: CaptureOptions, family: IpFamily): boolean {
  return dnsServers === '*' || ofFamily(dnsServers, family).length > 0;
}
