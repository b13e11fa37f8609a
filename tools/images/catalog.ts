/** The stages of deploy/images/Dockerfile. */
export type Target = 'command' | 'service' | 'bookinfo' | 'proxy';

export interface ImageDefinition {
  /** Without the hub: `control-plane` is `mizzen/control-plane`. */
  readonly name: string;
  readonly description: string;
  /** The module that is bundled to /app/main.mjs, relative to the workspace's root. */
  readonly entry: string;
  readonly target: Target;
  /** What the health check asks; '' for a command that has none. */
  readonly healthUrl: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Folders of the workspace that are copied beside the bundle, by their name below /app. */
  readonly folders?: Readonly<Record<string, string>>;
  /** npm packages with native code, which no bundle can hold. */
  readonly nativePackages?: readonly string[];
  /** Made for tests only; left out unless asked for. */
  readonly isForTests?: boolean;
}

export const HUB = 'mizzen';

const PROXY_HEALTH = 'http://127.0.0.1:15021/healthz/ready';

const MESH: readonly ImageDefinition[] = [
  {
    name: 'control-plane',
    description: 'serves xDS to the proxies of the mesh',
    entry: 'apps/control-plane/src/main.ts',
    target: 'service',
    healthUrl: 'http://127.0.0.1:15014/ready',
  },
  {
    name: 'ca',
    description: 'signs workload certificates',
    entry: 'apps/ca/src/main.ts',
    target: 'service',
    healthUrl: 'http://127.0.0.1:15093/ready',
  },
  {
    name: 'injector',
    description: 'adds the sidecar to pods and validates resources, as an admission webhook',
    entry: 'apps/injector/src/main.ts',
    target: 'service',
    healthUrl: 'http://127.0.0.1:15014/ready',
  },
  {
    name: 'telemetry',
    description: 'collects metrics and spans and shows the service graph',
    entry: 'apps/telemetry/src/main.ts',
    target: 'service',
    healthUrl: 'http://127.0.0.1:20001/healthz',
  },
  {
    name: 'rate-limit',
    description: 'counts requests for the whole mesh',
    entry: 'apps/rate-limit/src/main.ts',
    target: 'service',
    healthUrl: 'http://127.0.0.1:15095/healthz',
  },
  {
    name: 'sidecar',
    description: 'agent and proxy of one workload; as an init container, the capture of its traffic',
    entry: 'apps/sidecar/src/main.ts',
    target: 'proxy',
    healthUrl: PROXY_HEALTH,
    buildArgs: { UID: '1337', COMMAND_PACKAGE: 'iptables' },
    nativePackages: ['koffi'],
  },
  {
    name: 'ingress-gateway',
    description: 'the proxy at the edge of the mesh',
    entry: 'apps/ingress-gateway/src/main.ts',
    target: 'proxy',
    healthUrl: PROXY_HEALTH,
    buildArgs: { UID: '1337' },
  },
  {
    name: 'cli',
    description: 'the command mizzen',
    entry: 'apps/cli/src/cli.ts',
    target: 'command',
    healthUrl: '',
    folders: { bin: 'deploy/images/bin' },
  },
];

/** Bookinfo, one image a version, named as Istio's own samples name theirs. */
const BOOKINFO: readonly ImageDefinition[] = [
  bookinfo('productpage', 'v1', { folders: { static: 'apps/bookinfo/productpage/static' } }),
  bookinfo('details', 'v1'),
  bookinfo('details', 'v2', { buildArgs: { ENABLE_EXTERNAL_BOOK_SERVICE: 'true' } }),
  ...['v1', 'v2', 'v3'].map((version) => bookinfo('reviews', version)),
  ...['v1', 'v2', 'v-faulty', 'v-delayed', 'v-unavailable', 'v-unhealthy'].map((version) => bookinfo('ratings', version)),
];

function bookinfo(service: string, version: string, more: Partial<ImageDefinition> = {}): ImageDefinition {
  return {
    name: `bookinfo-${service}-${version}`,
    description: `Bookinfo's ${service}, ${version}`,
    entry: `apps/bookinfo/${service}/src/main.ts`,
    target: 'bookinfo',
    healthUrl: 'http://127.0.0.1:9080/health',
    ...more,
    buildArgs: { SERVICE_VERSION: version, ...more.buildArgs },
  };
}

const FOR_TESTS: readonly ImageDefinition[] = [
  {
    name: 'test-peers',
    description: 'what the scenarios talk to: a database, a book service, a solver of ACME challenges',
    entry: 'apps/e2e/src/peers/main.ts',
    target: 'command',
    healthUrl: '',
    isForTests: true,
  },
];

export const IMAGES: readonly ImageDefinition[] = [...MESH, ...BOOKINFO, ...FOR_TESTS];
