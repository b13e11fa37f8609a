import { isIP } from 'node:net';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { errorMessage, MizzenError } from '@mizzen/core';
import type { BackendName } from './backend.ts';
import { type CaptureOptions, DEFAULT_CAPTURE } from './capture-options.ts';

/** What `mizzen iptables` is asked to do. */
export interface IptablesCommand {
  readonly action: 'apply' | 'cleanup' | 'help';
  /** Prints the rules and changes nothing. */
  readonly isDryRun: boolean;
  readonly backend: BackendName | 'auto';
  /** Whether IPv6 is captured: `auto` where the workload has an address. */
  readonly ipv6: 'auto' | 'on' | 'off';
  /** DNS is captured, for the servers of /etc/resolv.conf unless `options` says which. */
  readonly capturesDns: boolean;
  readonly options: CaptureOptions;
}

const FLAGS = {
  'envoy-port': { type: 'string', short: 'p' },
  'inbound-capture-port': { type: 'string', short: 'z' },
  'inbound-tunnel-port': { type: 'string', short: 'e' },
  'dns-port': { type: 'string' },
  'proxy-uid': { type: 'string', short: 'u' },
  'proxy-gid': { type: 'string', short: 'g' },
  'istio-inbound-interception-mode': { type: 'string', short: 'm' },
  'istio-inbound-ports': { type: 'string', short: 'b' },
  'istio-local-exclude-ports': { type: 'string', short: 'd' },
  'istio-service-cidr': { type: 'string', short: 'i' },
  'istio-service-exclude-cidr': { type: 'string', short: 'x' },
  'istio-outbound-ports': { type: 'string', short: 'q' },
  'istio-local-outbound-ports-exclude': { type: 'string', short: 'o' },
  'istio-exclude-interfaces': { type: 'string', short: 'c' },
  'kube-virt-interfaces': { type: 'string', short: 'k' },
  'outbound-owner-groups': { type: 'string' },
  'outbound-owner-groups-exclude': { type: 'string' },
  'redirect-dns': { type: 'boolean' },
  'capture-all-dns': { type: 'boolean' },
  'drop-invalid': { type: 'boolean' },
  'dual-stack': { type: 'boolean' },
  backend: { type: 'string' },
  ipv6: { type: 'string' },
  'dry-run': { type: 'boolean', short: 'n' },
  cleanup: { type: 'boolean' },
  'cleanup-only': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  // Istio's, with no meaning here.
  log_output_level: { type: 'string' },
  'run-validation': { type: 'boolean' },
  'force-apply': { type: 'boolean' },
} as const satisfies ParseArgsOptionsConfig;

type Values = ReturnType<typeof parse>;

/** Reads the flags, Istio's among them. Throws MIZZEN_SETTINGS. Source: istio tools/istio-iptables/pkg/cmd/root.go. */
export function parseIptablesFlags(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): IptablesCommand {
  const values = parse(argv);
  const mode = values['istio-inbound-interception-mode'] ?? '';
  if (mode !== '' && mode !== 'REDIRECT') throw mistake('-m', `${mode} is not supported; use REDIRECT`);
  const capturesDns = values['redirect-dns'] ?? env['ISTIO_META_DNS_CAPTURE'] === 'true';
  return {
    action: values.help ? 'help' : values.cleanup || values['cleanup-only'] ? 'cleanup' : 'apply',
    isDryRun: values['dry-run'] ?? false,
    backend: oneOf('--backend', values.backend, ['auto', 'nft', 'legacy']),
    ipv6: values['dual-stack'] ? 'on' : oneOf('--ipv6', values.ipv6, ['auto', 'on', 'off']),
    capturesDns,
    options: { ...captureOptionsOf(values, env), dnsServers: capturesDns && values['capture-all-dns'] ? '*' : [] },
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, strict: true, allowPositionals: false }).values;
  } catch (thrown) {
    throw new MizzenError('MIZZEN_SETTINGS', `${errorMessage(thrown).split('. ')[0]}; see mizzen iptables --help`, { cause: thrown });
  }
}

function captureOptionsOf(values: Values, env: Readonly<Record<string, string | undefined>>): CaptureOptions {
  const uids = ids('-u', values['proxy-uid']) ?? DEFAULT_CAPTURE.proxyUids;
  const groups = values['outbound-owner-groups'] ?? env['ISTIO_OUTBOUND_OWNER_GROUPS'] ?? '*';
  const excludedGroups = values['outbound-owner-groups-exclude'] ?? env['ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE'];
  return {
    outboundPort: port('-p', values['envoy-port']) ?? DEFAULT_CAPTURE.outboundPort,
    inboundPort: port('-z', values['inbound-capture-port']) ?? DEFAULT_CAPTURE.inboundPort,
    tunnelPort: port('-e', values['inbound-tunnel-port']) ?? DEFAULT_CAPTURE.tunnelPort,
    dnsPort: port('--dns-port', values['dns-port']) ?? DEFAULT_CAPTURE.dnsPort,
    proxyUids: uids,
    proxyGids: ids('-g', values['proxy-gid']) ?? uids,
    inboundPorts: all(values['istio-inbound-ports'], DEFAULT_CAPTURE.inboundPorts, (text) => ports('-b', text)),
    excludedInboundPorts: ports('-d', values['istio-local-exclude-ports'] ?? DEFAULT_CAPTURE.excludedInboundPorts.join()),
    outboundRanges: all(values['istio-service-cidr'], DEFAULT_CAPTURE.outboundRanges, (text) => ranges('-i', text)),
    excludedOutboundRanges: ranges('-x', values['istio-service-exclude-cidr']),
    outboundPorts: ports('-q', values['istio-outbound-ports']),
    excludedOutboundPorts: ports('-o', values['istio-local-outbound-ports-exclude']),
    ownerGroups: all(groups, '*', (text) => ids('--outbound-owner-groups', text) ?? []),
    excludedOwnerGroups: ids('--outbound-owner-groups-exclude', excludedGroups) ?? [],
    excludedInterfaces: interfaces('-c', values['istio-exclude-interfaces']),
    virtualInterfaces: interfaces('-k', values['kube-virt-interfaces']),
    dnsServers: [],
    dropsInvalid: values['drop-invalid'] ?? env['INVALID_DROP'] === 'true',
  };
}

function mistake(flag: string, message: string): MizzenError {
  return new MizzenError('MIZZEN_SETTINGS', `${flag}: ${message}; see mizzen iptables --help`);
}

function items(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function all<T>(text: string | undefined, fallback: '*' | T, parseList: (text: string) => T): '*' | T {
  if (text === undefined) return fallback;
  return text.trim() === '*' ? '*' : parseList(text);
}

function port(flag: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 65_535) throw mistake(flag, `"${text}" is not a port (1 to 65535)`);
  return value;
}

function ports(flag: string, text: string | undefined): readonly number[] {
  return items(text).flatMap((item) => port(flag, item) ?? []);
}

function ranges(flag: string, text: string | undefined): readonly string[] {
  return items(text).map((item) => {
    const [address = '', length, ...rest] = item.split('/');
    const family = isIP(address);
    const isLength = length === undefined || (/^\d+$/.test(length) && Number(length) <= (family === 6 ? 128 : 32));
    if (family === 0 || !isLength || rest.length > 0) throw mistake(flag, `"${item}" is not an address range such as 10.96.0.0/12`);
    return length === undefined ? `${address}/${family === 6 ? 128 : 32}` : item;
  });
}

function ids(flag: string, text: string | undefined): readonly string[] | undefined {
  const found = items(text);
  for (const item of found)
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(item)) throw mistake(flag, `"${item}" is not the name or number of a user or group`);
  return found.length === 0 ? undefined : found;
}

function interfaces(flag: string, text: string | undefined): readonly string[] {
  const found = items(text);
  // The kernel's limit is 15; a plus at the end stands for any continuation.
  for (const name of found)
    if (!/^[^\s/!"'\\-][^\s/"'\\]{0,14}$/.test(name)) throw mistake(flag, `"${name}" is not the name of a network interface`);
  return found;
}

function oneOf<T extends string>(flag: string, text: string | undefined, values: readonly [T, ...T[]]): T {
  if (text === undefined) return values[0];
  const found = values.find((value) => value === text);
  if (found === undefined) throw mistake(flag, `"${text}" is not one of ${values.join(', ')}`);
  return found;
}
