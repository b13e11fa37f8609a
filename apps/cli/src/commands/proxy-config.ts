import { readFileSync } from 'node:fs';
import { errorMessage, MizzenError } from '@mizzen/core';
import { type Command, Option } from 'commander';
import type { MeshAccess } from '../access/mesh-access.ts';
import { addMeshOptions, withMesh } from '../access/open-mesh.ts';
import { formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { clusterSection } from '../proxy-config/clusters.ts';
import { readConfigDump } from '../proxy-config/config-dump.ts';
import { readControlPlaneDump } from '../proxy-config/control-plane-dump.ts';
import { endpointSection } from '../proxy-config/endpoints.ts';
import { textAt } from '../proxy-config/json.ts';
import { listenerSection } from '../proxy-config/listeners.ts';
import { routeSection } from '../proxy-config/routes.ts';
import { secretSection } from '../proxy-config/secrets.ts';
import type { ProxyDump, Section, SectionFilter } from '../proxy-config/section.ts';
import type { CommandContext, GlobalOptions } from './context.ts';
import { fetchJson } from './debug-api.ts';
import { parsePort } from './options.ts';
import { fetchSyncStatus, matchesProxy, proxyName, type SyncStatus } from './sync-status.ts';

interface SectionCommand {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly section: Section;
  readonly filters: readonly (keyof SectionFilter)[];
  /** The control plane cannot answer in the proxy's place. */
  readonly isPrivate?: boolean;
}

const SECTIONS: readonly SectionCommand[] = [
  { name: 'clusters', aliases: ['cluster', 'c'], section: clusterSection, filters: ['fqdn', 'port', 'subset', 'direction'] },
  { name: 'listeners', aliases: ['listener', 'l'], section: listenerSection, filters: ['address', 'port', 'name'] },
  { name: 'routes', aliases: ['route', 'r'], section: routeSection, filters: ['name'] },
  { name: 'endpoints', aliases: ['endpoint', 'ep'], section: endpointSection, filters: ['fqdn', 'address', 'port', 'cluster', 'status'] },
  { name: 'secret', aliases: ['secrets', 's'], section: secretSection, filters: ['name'], isPrivate: true },
];

const FILTERS: Record<keyof SectionFilter, Option> = {
  fqdn: new Option('--fqdn <host>', 'only where the host contains this'),
  port: new Option('--port <port>', 'only this port').argParser(parsePort),
  subset: new Option('--subset <name>', 'only this subset'),
  direction: new Option('--direction <direction>', 'only this direction').choices(['inbound', 'outbound']),
  name: new Option('--name <name>', 'only the resource of this name'),
  address: new Option('--address <address>', 'only this address'),
  cluster: new Option('--cluster <name>', 'only this cluster, by its full name'),
  status: new Option('--status <status>', 'only this health status'),
};

const HELP = `
Examples:
  mizzen proxy-config routes productpage
  mizzen pc clusters productpage-v1.default --fqdn reviews --subset v3
  mizzen pc endpoints productpage --cluster 'outbound|9080||reviews.default.svc.cluster.local'
  mizzen pc all productpage -o yaml
`;

interface SourceOptions {
  readonly adminAddress?: string;
  readonly file?: string;
}

type Options = GlobalOptions & SourceOptions & SectionFilter;

/** `proxy-config`: what a proxy runs with, asked from the proxy itself. */
export function addProxyConfigCommand(program: Command, context: CommandContext): void {
  const proxyConfig = program
    .command('proxy-config')
    .alias('pc')
    .description('show the configuration that a proxy runs with, as the proxy itself tells it')
    .addHelpText('after', HELP);
  for (const { name, aliases, section, filters, isPrivate } of SECTIONS) {
    const command = addSource(proxyConfig.command(name)).aliases(aliases).description(`show the proxy's ${name}`);
    for (const filter of filters) command.addOption(FILTERS[filter]);
    command.action(async (proxy: string | undefined, _: unknown, self: Command) =>
      showSection(section, await readProxy(proxy, self, { context, ...(isPrivate && { privateName: name }) }), {
        options: self.optsWithGlobals<Options>(),
        context,
      }),
    );
  }
  addSource(proxyConfig.command('bootstrap'))
    .alias('b')
    .description('show the bootstrap that the proxy was started with (JSON or YAML)')
    .action(async (proxy: string | undefined, _: unknown, self: Command) =>
      showBootstrap(await readProxy(proxy, self, { context, privateName: 'bootstrap' }), self.optsWithGlobals<Options>(), context),
    );
  addSource(proxyConfig.command('all'))
    .alias('a')
    .description('show everything')
    .action(async (proxy: string | undefined, _: unknown, self: Command) =>
      showAll(await readProxy(proxy, self, { context }), self.optsWithGlobals<Options>(), context),
    );
}

function addSource(command: Command): Command {
  return addMeshOptions(command)
    .argument('[proxy]', 'the proxy: the beginning of its name, as `mizzen proxy-status` lists it')
    .option('--admin-address <host:port>', "the proxy's admin address, instead of its name")
    .option('-f, --file <file>', 'read a saved /config_dump (- is standard input) instead of asking a proxy');
}

function showSection(section: Section, dump: ProxyDump, asked: { options: Options; context: CommandContext }): void {
  const { options, context } = asked;
  const resources = section.select(dump, options);
  const raw = resources.map((resource) => resource.raw);
  context.print(
    formatOutput(options.output, raw, () =>
      formatTable(
        section.header,
        resources.flatMap((resource) => section.rows(resource)),
      ),
    ),
  );
}

function showBootstrap({ dump }: ProxyDump, options: Options, context: CommandContext): void {
  if (!dump.bootstrap) throw new MizzenError('MIZZEN_RESOURCE', 'the dump holds no bootstrap');
  context.print(formatOutput(options.output === 'table' ? 'json' : options.output, dump.bootstrap.raw, () => ''));
}

function showAll(dump: ProxyDump, options: Options, context: CommandContext): void {
  const parts = SECTIONS.map(({ name, section }) => ({ name, section, resources: section.select(dump, {}) }));
  const raw = Object.fromEntries(parts.map(({ name, resources }) => [name, resources.map((resource) => resource.raw)]));
  const tables = (): string =>
    parts
      .map(({ section, resources }) =>
        formatTable(
          section.header,
          resources.flatMap((resource) => section.rows(resource)),
        ),
      )
      .join('\n');
  context.print(formatOutput(options.output, { bootstrap: dump.dump.bootstrap?.raw, ...raw }, tables));
}

const DUMP_PATH = '/config_dump?include_eds';
const CLUSTERS_PATH = '/clusters?format=json';

interface Reading {
  readonly context: CommandContext;
  /** What is asked for, where nobody but the proxy can tell it. */
  readonly privateName?: string;
}

async function readProxy(proxy: string | undefined, command: Command, reading: Reading): Promise<ProxyDump> {
  const { context } = reading;
  const { file, adminAddress } = command.optsWithGlobals<Options>();
  if (file !== undefined) return { dump: readConfigDump(await readDumpFile(file, context)), clusterStatuses: {} };
  if (adminAddress !== undefined) return readDump((path) => fetchJson(`http://${adminAddress}${path}`));
  return withMesh(command, context, async (mesh) => readFoundProxy(await findProxy(proxy, mesh), mesh, reading));
}

/**
 * From the proxy, else from the control plane: a proxy's admin port listens on its own loopback, which in compose, or on another machine,
 * cannot be reached from here, or is that of another proxy.
 */
async function readFoundProxy(found: SyncStatus, mesh: MeshAccess, { context, privateName }: Reading): Promise<ProxyDump> {
  try {
    const own = await readDump((path) => mesh.admin(found, path));
    const id = textAt(own.dump.bootstrap?.view, 'node', 'id');
    if (id === '' || id === found.proxy) return own;
    throw new MizzenError('MIZZEN_NOT_RUNNING', `at its admin address answers ${id}`);
  } catch (thrown) {
    if (!(thrown instanceof MizzenError) || thrown.code !== 'MIZZEN_NOT_RUNNING') throw thrown;
    if (privateName !== undefined) {
      const what = `the ${privateName} of ${proxyName(found)} nobody else can tell: save the proxy's /config_dump where it can be asked, and give it with -f`;
      throw new MizzenError('MIZZEN_NOT_RUNNING', `${what} (${thrown.message})`, { cause: thrown });
    }
    context.message(`mizzen: ${proxyName(found)} cannot be asked from here: ${thrown.message}`);
    context.message('mizzen: so this is what the control plane has for it; `mizzen proxy-status` shows whether the proxy took it');
    const answers = await mesh.debug(`/debug/config_dump?proxyID=${encodeURIComponent(found.proxy)}`);
    return readControlPlaneDump(answers[0]);
  }
}

async function readDump(ask: (path: string) => Promise<unknown>): Promise<ProxyDump> {
  const [dump, clusterStatuses] = await Promise.all([ask(DUMP_PATH), ask(CLUSTERS_PATH)]);
  return { dump: readConfigDump(dump), clusterStatuses };
}

async function readDumpFile(file: string, context: CommandContext): Promise<unknown> {
  try {
    return JSON.parse(file === '-' ? await context.readStdin() : readFileSync(file, 'utf8'));
  } catch (thrown) {
    const where = file === '-' ? 'standard input' : file;
    throw new MizzenError('MIZZEN_RESOURCE', `${where} holds no config dump: ${errorMessage(thrown)}`, { details: { isBadInput: true } });
  }
}

async function findProxy(proxy: string | undefined, mesh: MeshAccess): Promise<SyncStatus> {
  const all = await fetchSyncStatus(mesh);
  const names = all.map(proxyName).join(', ');
  if (proxy === undefined) throw new MizzenError('MIZZEN_SETTINGS', `say which proxy: ${names || 'none is connected'}`);
  const matching = all.filter((entry) => matchesProxy(entry, proxy));
  const exact = matching.filter((entry) => proxyName(entry) === proxy || entry.proxy === proxy);
  const [found, ...others] = exact.length > 0 ? exact : matching;
  if (!found) throw new MizzenError('MIZZEN_RESOURCE', `no proxy's name begins with ${proxy}; there are ${names || 'none'}`);
  if (others.length > 0)
    throw new MizzenError('MIZZEN_RESOURCE', `${proxy} is the beginning of several names: ${matching.map(proxyName).join(', ')}`);
  return found;
}
