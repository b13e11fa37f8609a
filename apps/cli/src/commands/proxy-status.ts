import type { Command } from 'commander';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { colors } from '../output/colors.ts';
import { formatAge, formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { fetchSyncStatus, matchesProxy, proxyName, type SyncStatus, type TypeStatus } from './sync-status.ts';

/** Columns in the order in which istioctl shows them. */
const TYPES = ['CDS', 'LDS', 'EDS', 'RDS'];

const HELP = `
A type is SYNCED (acknowledged), STALE (sent and not answered), NOT SENT (there was nothing to send) or ERROR (refused; the reason is below
the table).

Examples:
  mizzen proxy-status
  mizzen ps productpage            only proxies whose name begins so
  mizzen ps -o json
`;

export function addProxyStatusCommand(program: Command, context: CommandContext): void {
  addMeshOptions(program.command('proxy-status'))
    .alias('ps')
    .argument('[proxy]', 'only proxies whose name begins so')
    .description('list the proxies, whether each has the configuration that it should have, and their ports')
    .addHelpText('after', HELP)
    .action(async (prefix: string | undefined, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const all = await withMesh(command, context, fetchSyncStatus);
      const matching = all.filter((entry) => prefix === undefined || matchesProxy(entry, prefix));
      context.print(formatOutput(options.output, matching, () => proxyStatusTable(matching, context.clock.now())));
    });
}

/** The table, and below it the reason of every refusal. */
export function proxyStatusTable(entries: readonly SyncStatus[], nowMs: number): string {
  const columns = [...TYPES, ...extraTypes(entries)];
  const rows = entries.map((entry) => [
    proxyName(entry),
    entry.cluster_id ?? '-',
    ...columns.map((type) => describeType(entry.types[type], nowMs)),
    entry.istio_version || entry.user_agent || '-',
    describeProxyPorts(entry),
  ]);
  const table = formatTable(['NAME', 'CLUSTER', ...columns, 'VERSION', 'PORTS'], rows);
  const reasons = entries.flatMap((entry) => reasonsOf(entry));
  return reasons.length === 0 ? table : `${table}\n${reasons.join('\n')}\n`;
}

function extraTypes(entries: readonly SyncStatus[]): string[] {
  return [...new Set(entries.flatMap(({ types }) => Object.keys(types)))].filter((type) => !TYPES.includes(type)).sort();
}

function describeType(type: TypeStatus | undefined, nowMs: number): string {
  if (!type) return 'NOT SENT';
  const at = type.ackedAt ?? type.sentAt;
  const age = at === undefined || type.status === 'NOT SENT' ? '' : ` (${formatAge(new Date(at).getTime(), nowMs)})`;
  return `${colourStatus(type.status)}${age}`;
}

function colourStatus(status: string): string {
  if (status === 'SYNCED') return colors.green(status);
  if (status === 'ERROR') return colors.red(status);
  return status === 'STALE' ? colors.yellow(status) : status;
}

function reasonsOf(entry: SyncStatus): string[] {
  return Object.entries(entry.types)
    .filter(([, { status, reason }]) => status === 'ERROR' && reason)
    .map(([type, { reason }]) => `${proxyName(entry)} refused ${type}: ${reason}`);
}

interface InboundPort {
  readonly port?: number;
  readonly listenPort?: number;
}

/** `9080→40123, http proxy 21003, admin 4567`. */
function describeProxyPorts({ ports = {}, admin_address: admin, status_port: status }: SyncStatus): string {
  const inbound = Array.isArray(ports['INBOUND']) ? (ports['INBOUND'] as InboundPort[]) : [];
  const parts = inbound.map(({ port, listenPort }) => `${port}→${listenPort}`);
  if (ports['HTTP_PROXY_PORT']) parts.push(`http proxy ${ports['HTTP_PROXY_PORT']}`);
  if (admin) parts.push(`admin ${admin.slice(admin.lastIndexOf(':') + 1)}`);
  if (status) parts.push(`status ${status}`);
  return parts.length === 0 ? '-' : parts.join(', ');
}
