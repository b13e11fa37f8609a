import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { MeshProxy } from '@mizzen/proxy';
import { freePort } from '@mizzen/testing';
import { describeWithEnvoy, type Envoy, startEnvoy } from './envoy-process.ts';
import { startOurProxy } from './our-proxy.ts';
import { type RecordingBackend, startRecordingBackend } from './peers/recording-backend.ts';
import { SMUGGLING_ATTEMPTS, type SmugglingAttempt } from './smuggling-corpus.ts';

/** What came of an attempt: the statuses that the client saw, and the requests that the back end saw. */
interface Outcome {
  readonly statuses: readonly string[];
  readonly requests: readonly string[];
}

interface Difference {
  readonly name: string;
  readonly envoy: Outcome;
  readonly ours: Outcome;
}

interface Round {
  /** At a time. */
  readonly parallel: number;
  readonly silenceMs: number;
}

/** Many at a time and with little patience at first; who seems to differ is asked again, with fewer others and more patience. */
const ROUNDS: readonly Round[] = [
  { parallel: 32, silenceMs: 150 },
  { parallel: 8, silenceMs: 1500 },
  { parallel: 1, silenceMs: 5000 },
];

describeWithEnvoy('needs envoy: nothing is smuggled past our proxy', () => {
  let backend: RecordingBackend;
  let envoy: Envoy;
  let proxy: MeshProxy;
  let envoyPort: number;
  let ourPort: number;
  let marks = 0;

  beforeAll(async () => {
    backend = await startRecordingBackend();
    envoyPort = await freePort();
    ourPort = await freePort();
    envoy = await startEnvoy(bootstrap(envoyPort, backend.port));
    proxy = await startOurProxy(bootstrap(ourPort, backend.port));
  });
  afterAll(async () => {
    await proxy?.close();
    await envoy?.close();
    await backend?.[Symbol.asyncDispose]();
  });

  async function attempt(port: number, { bytes }: SmugglingAttempt, silenceMs: number): Promise<Outcome> {
    const mark = `m${marks++}m`;
    const received = await send(port, bytes.replaceAll('ID', mark), silenceMs);
    const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status as string);
    return { statuses, requests: backend.requestsOf(mark).map((request) => request.replaceAll(mark, 'ID')) };
  }

  async function compare(each: SmugglingAttempt, silenceMs: number): Promise<Difference> {
    const [envoys, ours] = await Promise.all([attempt(envoyPort, each, silenceMs), attempt(ourPort, each, silenceMs)]);
    return { name: each.name, envoy: envoys, ours };
  }

  async function worse(attempts: readonly SmugglingAttempt[], { parallel, silenceMs }: Round): Promise<readonly Difference[]> {
    const rest = [...attempts];
    const differences: Difference[] = [];
    const work = async (): Promise<void> => {
      for (let each = rest.pop(); each !== undefined; each = rest.pop()) {
        const difference = await compare(each, silenceMs);
        if (isWorse(difference)) differences.push(difference);
      }
    };
    await Promise.all(Array.from({ length: parallel }, work));
    return differences;
  }

  it('shows the back end no request that Envoy would not, and takes nothing that Envoy refuses', async () => {
    let suspects: readonly SmugglingAttempt[] = SMUGGLING_ATTEMPTS;
    let differences: readonly Difference[] = [];
    for (const round of ROUNDS) {
      differences = await worse(suspects, round);
      suspects = suspects.filter(({ name }) => differences.some((difference) => difference.name === name));
    }
    expect(differences).toEqual([]);
  }, 300_000);

  it('would notice: two plain requests reach the back end through both', async () => {
    const { envoy: envoys, ours } = await compare(
      { name: 'plain', bytes: 'GET /a-ID HTTP/1.1\r\nHost: a.example\r\n\r\nGET /b-ID HTTP/1.1\r\nHost: a.example\r\n\r\n' },
      5000,
    );
    expect(ours).toEqual({ statuses: ['200', '200'], requests: ['GET /a-ID HTTP/1.1', 'GET /b-ID HTTP/1.1'] });
    expect(envoys).toEqual(ours);
  });
});

/** Fewer requests are no fault: what we refuse and Envoy takes is stricter. Other requests, or more of them, are. */
function isWorse({ envoy, ours }: Difference): boolean {
  return ours.requests.some((request, index) => request !== envoy.requests[index]) || ours.requests.length > envoy.requests.length;
}

/** Writes the bytes and reads until nothing more comes for a while. */
function send(port: number, bytes: string, silenceMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = '';
    const silence = setTimeout(() => socket.destroy(), silenceMs);
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      silence.refresh();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(silence);
      resolve(received);
    });
    socket.write(bytes, 'latin1');
  });
}

function bootstrap(port: number, backendPort: number): Record<string, unknown> {
  const endpoint = { address: { socket_address: { address: '127.0.0.1', port_value: backendPort } } };
  return {
    node: { id: 'smuggling', cluster: 'smuggling' },
    static_resources: {
      listeners: [
        {
          name: 'in',
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: [{ filters: [{ name: 'hcm', typed_config: HCM }] }],
        },
      ],
      clusters: [
        {
          name: 'backend',
          type: 'STATIC',
          connect_timeout: '5s',
          load_assignment: { cluster_name: 'backend', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
        },
      ],
    },
  };
}

const HCM = {
  '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
  stat_prefix: 'in',
  route_config: {
    name: 'all',
    virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '' }, route: { cluster: 'backend', timeout: '0s' } }] }],
  },
  upgrade_configs: [{ upgrade_type: 'websocket' }],
  http_filters: [{ name: 'router', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' } }],
};
