/** A process that `mizzen` can start. Paths are relative to the workspace's root. */
export interface AppEntry {
  readonly name: string;
  /** The module whose import runs the process. */
  readonly entry: string;
  readonly summary: string;
  /** What Node is told about its memory. */
  readonly nodeFlags?: readonly string[];
}

// Almost everything that a proxy makes for a request is garbage when it ends. A young generation of 8 MiB per half holds what 256 streams in
// flight have made: with 4 MiB much of it was taken for old first. What survives, mostly configuration that was replaced, may grow
// by half before it is collected, and not fourfold. A scavenge has less than 1 MiB to move, which one thread does in less time than several take
// to agree about it (docs/reference/performance.md).
const PROXY_FLAGS = ['--max-semi-space-size=8', '--heap-growing-percent=50', '--no-parallel-scavenge'];

/** The apps that are subcommands: `mizzen control-plane …` becomes that process. */
export const APPS: readonly AppEntry[] = [
  { name: 'control-plane', entry: 'apps/control-plane/src/main.ts', summary: 'serve xDS from a directory of configuration' },
  { name: 'injector', entry: 'apps/injector/src/main.ts', summary: 'take pods of a Kubernetes cluster into the mesh (admission webhooks)' },
  { name: 'ca', entry: 'apps/ca/src/main.ts', summary: 'sign workload certificates' },
  { name: 'sidecar', entry: 'apps/sidecar/src/main.ts', summary: 'run the agent and proxy of one workload', nodeFlags: PROXY_FLAGS },
  {
    name: 'ingress-gateway',
    entry: 'apps/ingress-gateway/src/main.ts',
    summary: 'run the proxy at the edge of the mesh',
    nodeFlags: PROXY_FLAGS,
  },
  { name: 'telemetry', entry: 'apps/telemetry/src/main.ts', summary: 'collect metrics and traces, and show the service graph' },
  { name: 'rate-limit', entry: 'apps/rate-limit/src/main.ts', summary: 'count requests for the whole mesh' },
  {
    name: 'proxy',
    entry: 'apps/sidecar/src/proxy-main.ts',
    summary: 'run the data plane alone, from an Envoy bootstrap file',
    nodeFlags: PROXY_FLAGS,
  },
  { name: 'iptables', entry: 'apps/sidecar/src/iptables-main.ts', summary: 'set the iptables rules that bring traffic to a sidecar' },
];

/** The sample's services, which `mizzen up` starts; not subcommands, because they know nothing of the mesh. */
const SAMPLE_APPS: readonly AppEntry[] = ['productpage', 'details', 'reviews', 'ratings'].map((service) => ({
  name: `bookinfo-${service}`,
  entry: `apps/bookinfo/${service}/src/main.ts`,
  summary: `Bookinfo's ${service}`,
}));

/** The command itself, bundled too, so that it starts as fast as the processes do. */
export const CLI: AppEntry = { name: 'cli', entry: 'apps/cli/src/cli.ts', summary: 'the command' };

export const ALL_ENTRIES: readonly AppEntry[] = [...APPS, ...SAMPLE_APPS, CLI];
