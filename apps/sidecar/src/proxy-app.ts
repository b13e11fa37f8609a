import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type App,
  CloseStack,
  errorCode,
  errorMessage,
  joinHostPort,
  type Logger,
  MizzenError,
  type SettingsOf,
  settings,
  systemClock,
} from '@mizzen/core';
import {
  awaitSuccessor,
  createProxy,
  loadBootstrap,
  type MeshProxy,
  type Predecessor,
  type ProxyOptions,
  type Replaceable,
  reopenAccessLogsOnSignal,
  takeOver,
} from '@mizzen/proxy';
import { type Bootstrap, BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';

export const proxySettings = {
  configPath: settings.string<string | undefined>('config-path', {
    help: 'Envoy bootstrap, YAML or JSON by its extension (short: -c)',
    fallback: undefined,
    placeholder: 'FILE',
  }),
  configYaml: settings.string<string | undefined>('config-yaml', {
    help: 'the bootstrap itself, as YAML',
    fallback: undefined,
    placeholder: 'YAML',
  }),
  mode: settings.oneOf('mode', ['serve', 'validate', 'encode'], {
    help: 'validate checks the bootstrap and ends; encode writes it to standard output as protobuf',
    fallback: 'serve',
  }),
  drainTime: settings.integer('drain-time-s', { help: 'seconds that connections are given to end when the process does', fallback: 5 }),
  logLevel: settings.logLevel(),
  concurrency: settings.integer('concurrency', {
    help: 'event loops, each in a thread of its own, on the same ports; 0: as many as the machine has cores',
    fallback: 1,
    min: 0,
  }),
  // What Envoy has and what means nothing here; taken, so that a command line made for Envoy works.
  logFormat: settings.string('log-format', { help: "taken for Envoy's sake; logs are JSON", fallback: '' }),
  baseId: settings.integer('base-id', { help: 'proxies of one user with the same number can replace each other', fallback: 0, min: 0 }),
  restartEpoch: settings.integer('restart-epoch', {
    help: 'above 0: takes the listeners over from the proxy with the same --base-id, which then drains and ends',
    fallback: 0,
    min: 0,
  }),
  parentShutdownTime: settings.integer('parent-shutdown-time-s', {
    help: 'seconds after which the proxy that this one replaces ends although it has connections',
    fallback: 900,
    min: 0,
  }),
  serviceCluster: settings.string('service-cluster', {
    help: 'node.cluster where the bootstrap has none',
    fallback: '',
    placeholder: 'NAME',
  }),
  serviceNode: settings.string('service-node', { help: 'node.id where the bootstrap has none', fallback: '', placeholder: 'ID' }),
  disableHotRestart: settings.flag('disable-hot-restart', { help: 'no other proxy can replace this one by --restart-epoch' }),
};

/** `mizzen proxy -c bootstrap.yaml`: the data plane alone, from any Envoy bootstrap. */
export const proxyApp: App<typeof proxySettings> = {
  name: 'proxy',
  summary: "The data plane alone, configured as Envoy is: by a bootstrap file, and by xDS where the bootstrap says so. Envoy's flags work.",
  schema: proxySettings,
  async start({ settings: values, logger }) {
    const bootstrap = await readBootstrap(values);
    if (values.mode === 'encode') await encode(bootstrap);
    nameNode(bootstrap, values);
    const stack = new CloseStack();
    const predecessor = values.restartEpoch > 0 && values.mode === 'serve' ? takeOver(hotRestart(values)) : undefined;
    const proxy = createProxy({
      bootstrap,
      clock: systemClock,
      random: Math.random,
      logger,
      drainTimeMs: values.drainTime * 1000,
      releasesMemory: true,
      onQuit: () => process.kill(process.pid, 'SIGTERM'),
      ...workers(values.concurrency, logger),
      ...(predecessor && { inherited: predecessor.listeners }),
      restart: {
        epoch: values.restartEpoch,
        generation: 1 + (predecessor?.generation ?? 0),
        firstStartedMs: predecessor?.firstStartedMs,
      },
      isReplaceable: !values.disableHotRestart,
    });
    if (values.mode === 'validate') await validate(proxy);
    stack.use(proxy);
    stack.use(reopenAccessLogsOnSignal(proxy));
    await proxy.start();
    await connectToManagementServer(bootstrap, { proxy, logger, stack });
    announce(proxy);
    // Not awaited: with a control plane that does not answer, the proxy before this one goes on serving.
    replace(predecessor, { proxy, logger, stack, values }).catch((thrown: unknown) => {
      logger.error({ reason: errorMessage(thrown) }, 'the proxy before this one was not replaced');
    });
    return stack;
  },
};

/** How often the process before is asked what it counts; Envoy's stats_flush_interval is 5 s. */
const TELL_COUNTS_MS = 1000;

type ProxySettings = SettingsOf<typeof proxySettings>;

function hotRestart({ baseId, concurrency }: ProxySettings): { readonly baseId: number; readonly concurrency: number } {
  return { baseId, concurrency: eventLoops(concurrency) };
}

/** Ends the proxy before this one, once this one serves, and waits for the one that ends this one. */
async function replace(
  predecessor: Predecessor | undefined,
  { proxy, logger, stack, values }: { proxy: MeshProxy; logger: Logger; stack: CloseStack; values: ProxySettings },
): Promise<void> {
  await proxy.ready.until((isReady) => isReady);
  predecessor?.replace({
    parentShutdownMs: values.parentShutdownTime * 1000,
    onCounts: (counts) => proxy.addParentCounts(counts),
  });
  if (values.disableHotRestart) return;
  try {
    const stop = await awaitSuccessor(
      { ...hotRestart(values), logger },
      {
        generation: 1 + (predecessor?.generation ?? 0),
        firstStartedMs: predecessor?.firstStartedMs ?? Math.floor(performance.timeOrigin),
        listeningDescriptors: () => proxy.listeningDescriptors(),
        releaseAdmin: () => proxy.releaseAdmin(),
        reclaimAdmin: () => proxy.reclaimAdmin(),
        readCounts: () => proxy.readCounts(),
        onReplaced: (replaced) => void endReplaced(proxy, replaced),
      },
    );
    stack.use({ close: async () => stop() });
  } catch (thrown) {
    // Two proxies of one user need not know of each other; only replacing one of them then needs a number.
    logger.info({ reason: errorMessage(thrown) }, 'this proxy cannot be replaced by a hot restart');
  }
}

/** Drains and ends, at the latest when the new process says; tells that one until then what is counted. */
async function endReplaced(proxy: MeshProxy, { parentShutdownMs, tell }: Parameters<Replaceable['onReplaced']>[0]): Promise<void> {
  const tellCounts = async (): Promise<void> => tell(await proxy.readCounts());
  proxy.stopAccepting();
  await tellCounts();
  const telling = setInterval(() => void tellCounts(), TELL_COUNTS_MS).unref();
  const late = new Promise((resolve) => setTimeout(resolve, parentShutdownMs).unref());
  await Promise.race([proxy.drain(), late]);
  clearInterval(telling);
  proxy.destroyConnections();
  await tellCounts();
  process.kill(process.pid, 'SIGTERM');
}

/** The threads beside this one; none for a single event loop. */
function workers(concurrency: number, logger: Logger): Pick<ProxyOptions, 'workers'> {
  const count = eventLoops(concurrency) - 1;
  const entry = process.argv[1];
  if (count < 1 || entry === undefined) return {};
  const onCrash = (error: Error): never => {
    logger.fatal({ err: error }, 'an event loop ended by a fault');
    process.exit(1);
  };
  return { workers: { count, entry, onCrash } };
}

function eventLoops(concurrency: number): number {
  return concurrency === 0 ? availableParallelism() : concurrency;
}

async function readBootstrap(values: {
  readonly mode: string;
  readonly configPath: string | undefined;
  readonly configYaml: string | undefined;
}): Promise<Bootstrap> {
  if (values.configYaml !== undefined && values.configPath === undefined) return loadBootstrap(values.configYaml, 'yaml');
  const path = values.configPath;
  if (path === undefined) throw new MizzenError('MIZZEN_SETTINGS', '-c FILE (or --config-yaml) is required: the Envoy bootstrap to run');
  let text: string;
  try {
    const known = values.mode === 'serve' ? readInChild(path) : undefined;
    if (known !== undefined) return known;
    text = readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new MizzenError('MIZZEN_BOOTSTRAP', `${path} cannot be read: ${errorCode(thrown)}`, { cause: thrown });
  }
  return loadBootstrap(text, extname(path) === '.json' ? 'json' : 'yaml');
}

// Above this a parser leaves more garbage behind than a small proxy weighs.
const LARGE_BOOTSTRAP_BYTES = 128 * 1024;

/**
 * Reads a large bootstrap in a process of its own: parsing a megabyte of YAML takes hundreds, which the process would keep for ever.
 * undefined where that did not work; the caller then reads it itself and reports what is wrong.
 */
function readInChild(path: string): Bootstrap | undefined {
  const main = process.argv[1];
  if (main === undefined || statSync(path).size < LARGE_BOOTSTRAP_BYTES) return undefined;
  const args = [...process.execArgv, main, '--mode', 'encode', '-c', path];
  const { status, stdout } = spawnSync(process.execPath, args, { maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? fromBinary(BootstrapSchema, stdout) : undefined;
}

async function encode(bootstrap: Bootstrap): Promise<never> {
  await new Promise((resolve) => process.stdout.write(toBinary(BootstrapSchema, bootstrap), resolve));
  process.exit(0);
}

function nameNode(bootstrap: Bootstrap, values: { readonly serviceNode: string; readonly serviceCluster: string }): void {
  if (bootstrap.node === undefined) return;
  if (bootstrap.node.id === '') bootstrap.node.id = values.serviceNode;
  if (bootstrap.node.cluster === '') bootstrap.node.cluster = values.serviceCluster;
}

/** As `envoy --mode validate`: compiles everything, binds and closes at once, tells on standard output. */
async function validate(proxy: MeshProxy): Promise<never> {
  await proxy.start();
  await proxy.close();
  process.stdout.write('configuration OK\n');
  process.exit(0);
}

/** dynamic_resources.ads_config over plain gRPC. grpc-js is loaded only where there is one. */
async function connectToManagementServer(
  bootstrap: Bootstrap,
  parts: { readonly proxy: MeshProxy; readonly logger: Logger; readonly stack: CloseStack },
): Promise<void> {
  const dynamic = bootstrap.dynamicResources;
  if (dynamic?.adsConfig === undefined && dynamic?.ldsConfig === undefined && dynamic?.cdsConfig === undefined) return;
  const target = dynamic.adsConfig?.grpcServices[0]?.targetSpecifier;
  if (target?.case !== 'envoyGrpc')
    throw new MizzenError('MIZZEN_BOOTSTRAP', 'dynamic_resources.ads_config.grpc_services[0].envoy_grpc is required: xDS comes over ADS');
  if (bootstrap.node === undefined) throw new MizzenError('MIZZEN_BOOTSTRAP', 'node is required with dynamic_resources');
  const address = parts.proxy.clusterAddress(target.value.clusterName);
  if (address === undefined)
    throw new MizzenError(
      'MIZZEN_BOOTSTRAP',
      `dynamic_resources.ads_config: there is no static cluster ${target.value.clusterName} with an address`,
    );
  const [{ createXdsClient }, { credentials }] = await Promise.all([import('@mizzen/xds-client'), import('@grpc/grpc-js')]);
  const client = createXdsClient({
    address,
    node: bootstrap.node,
    consumer: parts.proxy,
    credentials: () => credentials.createInsecure(),
    clock: systemClock,
    random: Math.random,
    logger: parts.logger,
  });
  parts.stack.use(client);
  client.start();
}

function announce(proxy: MeshProxy): void {
  const listeners = Object.fromEntries(
    [...proxy.listenerAddresses()].map(([name, address]) => [
      name,
      address.kind === 'ip' ? joinHostPort(address.host, address.port) : address.path,
    ]),
  );
  const admin = proxy.adminAddress();
  const ports = admin?.kind === 'ip' ? { admin: admin.port } : {};
  process.stdout.write(`${JSON.stringify({ ready: true, app: 'proxy', ports, listeners })}\n`);
}

const SHORT_FLAGS: Readonly<Record<string, string>> = { '-c': '--config-path', '-l': '--log-level' };
const ENVOY_LEVELS: Readonly<Record<string, string>> = { warning: 'warn', critical: 'fatal', off: 'silent' };

/** Envoy's short flags and level names, as this project's settings spell them. `--config` is a likely slip. */
export function translateEnvoyFlags(argv: readonly string[]): readonly string[] {
  const long = argv.flatMap((argument) => {
    const short = /^(-[cl])(.+)?$/.exec(argument);
    if (short !== null && !argument.startsWith('--'))
      return short[2] === undefined ? [SHORT_FLAGS[short[1] as string] as string] : [SHORT_FLAGS[short[1] as string] as string, short[2]];
    return [argument.replace(/^--config(=|$)/, '--config-path$1')];
  });
  return long.map((argument, index) =>
    long[index - 1] === '--log-level'
      ? (ENVOY_LEVELS[argument] ?? argument)
      : argument.replace(/^--log-level=(.*)$/, (_, level: string) => `--log-level=${ENVOY_LEVELS[level] ?? level}`),
  );
}
