import { existsSync, readFileSync } from 'node:fs';
import { EXIT, errorMessage, isMizzenError, MizzenError } from '@mizzen/core';
import { type Backend, chooseBackend, installedBackends } from './backend.ts';
import type { CaptureOptions } from './capture-options.ts';
import { buildCaptureRules } from './capture-rules.ts';
import { HELP } from './help.ts';
import { addSelfAddress } from './loopback-address.ts';
import { type IptablesCommand, parseIptablesFlags } from './parse-flags.ts';
import { findLeftovers, restoreText } from './restore-text.ts';
import { CHAIN_PREFIX, type IpFamily, type Rule } from './rule.ts';

/** Where the command writes, and what it reads: replaced in tests. */
export interface IptablesEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  print(text: string): void;
  complain(text: string): void;
}

const PROCESS: IptablesEnvironment = {
  env: process.env,
  print: (text) => process.stdout.write(text),
  complain: (text) => process.stderr.write(text),
};

/** `mizzen iptables …`: sets the rules of this network namespace. Resolves with the exit code; says on stderr what is wrong and what to do. */
export async function runIptables(argv: readonly string[], environment: IptablesEnvironment = PROCESS): Promise<number> {
  try {
    const command = parseIptablesFlags(argv, environment.env);
    if (command.action === 'help') environment.print(HELP);
    else if (command.isDryRun) printRules(command, environment);
    else await changeRules(command, environment);
    return EXIT.ok;
  } catch (thrown) {
    environment.complain(`mizzen iptables: ${errorMessage(thrown)}\n`);
    return isMizzenError(thrown) && thrown.code === 'MIZZEN_SETTINGS' ? EXIT.usage : EXIT.failure;
  }
}

function printRules(command: IptablesCommand, environment: IptablesEnvironment): void {
  const options = withDnsServers(command, environment);
  for (const family of familiesOf(command)) {
    const rules = command.action === 'cleanup' ? [] : buildCaptureRules(options, family);
    environment.print(`# ${family === 'ipv4' ? 'iptables' : 'ip6tables'}-restore --noflush\n${restoreText(rules)}`);
  }
}

async function changeRules(command: IptablesCommand, environment: IptablesEnvironment): Promise<void> {
  requireCapabilities();
  const options = withDnsServers(command, environment);
  const wanted = command.action === 'cleanup' ? [] : familiesOf(command);
  for (const family of ['ipv4', 'ipv6'] as const) {
    const installed = installedBackends(family);
    const rules = wanted.includes(family) ? buildCaptureRules(options, family) : [];
    const chosen = rules.length === 0 ? undefined : chooseBackend(namedBackends(installed, command));
    for (const other of installed) if (other.name !== chosen?.name) removeLeftovers(other);
    if (chosen === undefined) continue;
    if (family === 'ipv6') await addSelfAddress();
    chosen.restore(restoreText(rules, findLeftovers(chosen.save())));
    verify(chosen, rules);
    environment.print(`mizzen iptables: ${rules.length} rules are in force (${family}, ${chosen.name})\n`);
  }
  if (command.action === 'cleanup') environment.print('mizzen iptables: no rule is left\n');
}

function namedBackends(installed: readonly Backend[], { backend }: IptablesCommand): readonly Backend[] {
  if (backend === 'auto') return installed;
  const named = installed.filter(({ name }) => name === backend);
  if (named.length === 0) throw new MizzenError('MIZZEN_SETTINGS', `--backend ${backend}: iptables-${backend} is not installed`);
  return named;
}

/** What an earlier run left in an implementation that is not used now. One that does not work has no rules. */
function removeLeftovers(backend: Backend): void {
  let saved: string;
  try {
    saved = backend.save();
  } catch {
    return;
  }
  const text = restoreText([], findLeftovers(saved));
  if (text !== '') backend.restore(text);
}

// A rule that the kernel took and iptables does not show has happened where a kernel module was missing.
function verify(backend: Backend, rules: readonly Rule[]): void {
  const expected = rules.filter(({ chain }) => chain.startsWith(CHAIN_PREFIX)).length;
  const found = backend.save().match(new RegExp(`^-A ${CHAIN_PREFIX}`, 'gm'))?.length ?? 0;
  if (found !== expected)
    throw new MizzenError(
      'MIZZEN_UNEXPECTED',
      `iptables (${backend.name}) shows ${found} of ${expected} rules after setting them; try another --backend`,
    );
}

function familiesOf({ ipv6 }: IptablesCommand): readonly IpFamily[] {
  const hasIpv6 = ipv6 === 'auto' ? hasIpv6Address() : ipv6 === 'on';
  return hasIpv6 ? ['ipv4', 'ipv6'] : ['ipv4'];
}

const IF_INET6 = '/proc/net/if_inet6';
const GLOBAL_SCOPE = '00';

/** Whether an interface has an IPv6 address by which others reach it: neither loopback nor link-local. */
function hasIpv6Address(): boolean {
  if (!existsSync(IF_INET6)) return false;
  return readFileSync(IF_INET6, 'utf8')
    .split('\n')
    .some((line) => {
      const [, , , scope, , name] = line.trim().split(/\s+/);
      return scope === GLOBAL_SCOPE && name !== 'lo';
    });
}

const RESOLV_CONF = '/etc/resolv.conf';

function withDnsServers({ capturesDns, options }: IptablesCommand, environment: IptablesEnvironment): CaptureOptions {
  if (!capturesDns || options.dnsServers === '*') return options;
  const text = existsSync(RESOLV_CONF) ? readFileSync(RESOLV_CONF, 'utf8') : '';
  const dnsServers = [...text.matchAll(/^\s*nameserver\s+([0-9a-fA-F:.]+)/gm)].map((match) => match[1] as string);
  if (dnsServers.length === 0)
    environment.complain(
      `mizzen iptables: ${RESOLV_CONF} names no server, so DNS is not captured; --capture-all-dns captures every server\n`,
    );
  return { ...options, dnsServers: [...new Set(dnsServers)] };
}

const CAPABILITIES = [
  ['NET_ADMIN', 12n],
  ['NET_RAW', 13n],
] as const;

/** iptables itself only says that it was denied. Throws MIZZEN_UNEXPECTED. */
function requireCapabilities(): void {
  if (process.platform !== 'linux')
    throw new MizzenError('MIZZEN_UNEXPECTED', `iptables is of Linux, and this is ${process.platform}; run it in the workload's container`);
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  const missing = CAPABILITIES.filter(([, bit]) => (effective & (1n << bit)) === 0n).map(([name]) => name);
  if (missing.length === 0) return;
  const who = process.getuid?.() === 0 ? 'this container' : `user ${process.getuid?.()}`;
  throw new MizzenError(
    'MIZZEN_UNEXPECTED',
    `${who} lacks ${missing.join(' and ')}; run it as root with these capabilities (Kubernetes: securityContext.capabilities.add, compose: cap_add)`,
  );
}
