import { readFileSync } from 'node:fs';
import { errorMessage, MizzenError } from '@mizzen/core';
import { type Command, Option } from 'commander';
import { formatOutput } from '../output/format.ts';
import { formatTable } from '../output/table.ts';
import { clusterSection } from '../proxy-config/clusters.ts';
import { readConfigDump } from '../proxy-config/config-dump.ts';
import { endpointSection } from '../proxy-config/endpoints.ts';
import { listenerSection } from '../proxy-config/listeners.ts';
import { routeSection } from '../proxy-config/routes.ts';
import { secretSection } from '../proxy-config/secrets.ts';
import type { ProxyDump, Section, SectionFilter } from '../proxy-config/section.ts';
import { type CommandContext, type GlobalOptions, homeOf } from './context.ts';
import { debugAddress, fetchJson } from './debug-api.ts';
import { parsePort } from './options.ts';
import { debugAddressOption, fetchSyncStatus, matchesProxy, proxyName } from './proxy-status.ts';

interface SectionCommand {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly section: Section;
  readonly filters: readonly (keyof SectionFilter)[];
}

const SECTIONS: readonly SectionCommand[] = [
  { name: 'clusters', aliases: ['cluster', 'c'], section: clusterSection, filters: ['fqdn', 'port', 'subset', 'direction'] },
  { name: 'listeners', aliases: ['listener', 'l'], section: listenerSection, filters: ['address', 'port', 'name'] },
  { name: 'routes', aliases: ['route', 'r'], section: routeSection, filters: ['name'] },
  { name: 'endpoints', aliases: ['endpoint', 'ep'], section: endpointSection, filters: ['fqdn', 'address', 'port', 'cluster', 'status'] },
  { name: 'secret', aliases: ['secrets', 's'], section: secretSection, filters: ['name'] },
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
  readonly debugAddress?: string;
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
  for (const { name, aliases, section, filters } of SECTIONS) {
    const command = addSource(proxyConfig.command(name)).aliases(aliases).description(`show the proxy's ${name}`);
    for (const filter of filters) command.addOption(FILTERS[filter]);
    command.action(async (proxy: string | undefined, _: unknown, self: Command) =>
      showSection(section, proxy, { options: self.optsWithGlobals<Options>(), context }),
    );
  }
  addSource(proxyConfig.command('bootstrap'))
    .alias('b')
    .description('show the bootstrap that the proxy was started with (JSON or YAML)')
    .action(async (proxy: string | undefined, _: unknown, self: Command) => showBootstrap(proxy, self.optsWithGlobals<Options>(), context));
  addSource(proxyConfig.command('all'))
    .alias('a')
    .description('show everything')
    .action(async (proxy: string | undefined, _: unknown, self: Command) => showAll(proxy, self.optsWithGlobals<Options>(), context));
}

function addSource(command: Command): Command {
  return command
    .argument('[proxy]', 'the proxy: the beginning of its name, as `mizzen proxy-status` lists it')
    .addOption(debugAddressOption())
    .option('--admin-address <host:port>', "the proxy's admin address, instead of its name")
    .option('-f, --file <file>', 'read a saved /config_dump instead of asking a proxy');
}

async function showSection(
  section: Section,
  proxy: string | undefined,
  asked: { options: Options; context: CommandContext },
): Promise<void> {
  const { options, context } = asked;
  const resources = section.select(await readProxy(proxy, options), options);
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

async function showBootstrap(proxy: string | undefined, options: Options, context: CommandContext): Promise<void> {
  const { dump } = await readProxy(proxy, options);
  if (!dump.bootstrap) throw new MizzenError('MIZZEN_RESOURCE', 'the dump holds no bootstrap');
  context.print(formatOutput(options.output === 'table' ? 'json' : options.output, dump.bootstrap.raw, () => ''));
}

async function showAll(proxy: string | undefined, options: Options, context: CommandContext): Promise<void> {
  const dump = await readProxy(proxy, options);
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

async function readProxy(proxy: string | undefined, options: Options): Promise<ProxyDump> {
  if (options.file !== undefined) return { dump: readConfigDump(readDumpFile(options.file)), clusterStatuses: {} };
  const admin = await adminAddress(proxy, options);
  const [dump, clusterStatuses] = await Promise.all([
    fetchJson(`http://${admin}/config_dump?include_eds`),
    fetchJson(`http://${admin}/clusters?format=json`),
  ]);
  return { dump: readConfigDump(dump), clusterStatuses };
}

function readDumpFile(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (thrown) {
    throw new MizzenError('MIZZEN_RESOURCE', `${file} holds no config dump: ${errorMessage(thrown)}`, { details: { isBadInput: true } });
  }
}

async function adminAddress(proxy: string | undefined, options: Options): Promise<string> {
  if (options.adminAddress !== undefined) return options.adminAddress;
  const all = await fetchSyncStatus(debugAddress(homeOf(options), options.debugAddress));
  const names = all.map(proxyName).join(', ');
  if (proxy === undefined) throw new MizzenError('MIZZEN_SETTINGS', `say which proxy: ${names || 'none is connected'}`);
  const matching = all.filter((entry) => matchesProxy(entry, proxy));
  const exact = matching.filter((entry) => proxyName(entry) === proxy || entry.proxy === proxy);
  const [found, ...others] = exact.length > 0 ? exact : matching;
  if (!found) throw new MizzenError('MIZZEN_RESOURCE', `no proxy's name begins with ${proxy}; there are ${names || 'none'}`);
  if (others.length > 0)
    throw new MizzenError('MIZZEN_RESOURCE', `${proxy} is the beginning of several names: ${matching.map(proxyName).join(', ')}`);
  if (!found.admin_address)
    throw new MizzenError('MIZZEN_RESOURCE', `${proxyName(found)} does not say its admin address; give it with --admin-address`);
  return found.admin_address;
}
