import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { createHostCertificate } from '@mizzen/testing';
import { type HttpShape, httpBootstrap, loadHost, type TlsFiles, tcpBootstrap } from './bootstrap.ts';
import { runH2load, runHandshakes, runStream, runWrk } from './loads.ts';
import type { BenchProcess } from './processes.ts';
import { type ProxyName, type StartedProcess, startNghttpd, startNginx, startProxy, startSink } from './proxies.ts';

/** What every scenario of a run shares. */
export interface Place {
  readonly folder: string;
  readonly tls: TlsFiles;
  /** For our proxies: how they are to be observed. */
  readonly nodeFlags?: readonly string[];
}

/** A proxy, or two in a row, under load at `port`. */
export interface StartedSide {
  readonly port: number;
  /** Whose CPU counts. */
  readonly measured: readonly BenchProcess[];
}

/** One row of the table of goals: the same work through our proxy and through Envoy. */
export interface Scenario {
  readonly title: string;
  /** What a figure is for. */
  readonly unit: 'request' | 'GiB' | 'connection';
  /** At most, as a ratio to Envoy. */
  readonly goal: number;
  startBackend(place: Place): Promise<StartedProcess>;
  startSide(name: ProxyName, place: Place & { readonly backendPort: number }): Promise<StartedSide>;
  /** Answers how many units were done. Throws where one failed. */
  load(port: number, place: Place & { readonly seconds: number; readonly isWarmUp: boolean }): Promise<number>;
}

export async function preparePlace(folder: string): Promise<Place> {
  const { certChainPem, privateKeyPem, caPem } = await createHostCertificate('localhost');
  const at = (name: string): string => path.join(folder, name);
  const tls = { certificateFile: at('certificate.pem'), keyFile: at('key.pem'), rootFile: at('root.pem') };
  writeFileSync(tls.certificateFile, certChainPem);
  writeFileSync(tls.keyFile, privateKeyPem, { mode: 0o600 });
  writeFileSync(tls.rootFile, caPem);
  // A gRPC message of 64 bytes: not compressed, its length, itself.
  writeFileSync(at('message'), Buffer.concat([Buffer.from([0, 0, 0, 0, 64]), Buffer.alloc(64, 'x')]));
  return { folder, tls };
}

export const ROUTES: HttpShape = { virtualHosts: 200, routesPerHost: 5 };
const HOST = loadHost(ROUTES.virtualHosts);

function oneHop(shape: (tls: TlsFiles) => HttpShape): Scenario['startSide'] {
  return async (name, { tls, backendPort, ...place }) => {
    const started = await startProxy(name, { ...place, bootstrap: (ports) => httpBootstrap(shape(tls), { ...ports, backendPort }) });
    return { port: started.port, measured: [started.process] };
  };
}

export const SCENARIOS = {
  http1: {
    title: 'HTTP/1.1, one hop, 1,000 routes in 200 virtual hosts',
    unit: 'request',
    goal: 0.65,
    startBackend: ({ folder }) => startNginx(folder),
    startSide: oneHop(() => ROUTES),
    load: (port, { seconds }) => runWrk(`http://127.0.0.1:${port}/productpage`, { seconds, host: HOST }),
  },
  http1Tls: {
    title: 'HTTP/1.1 with TLS termination',
    unit: 'request',
    goal: 0.7,
    startBackend: ({ folder }) => startNginx(folder),
    startSide: oneHop((tls) => ({ ...ROUTES, downstreamTls: { ...tls, isMutual: false } })),
    load: (port, { seconds }) => runWrk(`https://127.0.0.1:${port}/productpage`, { seconds, host: HOST }),
  },
  sidecars: {
    title: 'two sidecars with mTLS, RBAC, metrics, access log off',
    unit: 'request',
    goal: 0.75,
    startBackend: ({ folder }) => startNginx(folder),
    async startSide(name, { tls, backendPort, ...place }) {
      const inbound: HttpShape = { ...ROUTES, downstreamTls: { ...tls, isMutual: true }, hasRbac: true };
      const server = await startProxy(name, { ...place, bootstrap: (ports) => httpBootstrap(inbound, { ...ports, backendPort }) });
      const outbound: HttpShape = { ...ROUTES, upstreamTls: tls };
      try {
        const client = await startProxy(name, {
          ...place,
          bootstrap: (ports) => httpBootstrap(outbound, { ...ports, backendPort: server.port }),
        });
        return { port: client.port, measured: [client.process, server.process] };
      } catch (thrown) {
        await server.process.stop();
        throw thrown;
      }
    },
    load: (port, { seconds }) => runWrk(`http://127.0.0.1:${port}/productpage`, { seconds, host: HOST }),
  },
  http2: {
    title: 'HTTP/2 GET, both sides, 8 × 32 streams',
    unit: 'request',
    goal: 0.5,
    startBackend: ({ folder }) => startNghttpd(folder),
    startSide: oneHop(() => ({ ...ROUTES, isUpstreamHttp2: true })),
    load: (port, { seconds, isWarmUp }) => runH2load(`http://127.0.0.1:${port}/x`, { seconds, isWarmUp, host: HOST }),
  },
  grpc: {
    title: 'gRPC unary, both sides, 8 × 32 streams',
    unit: 'request',
    goal: 0.5,
    startBackend: ({ folder }) => startNghttpd(folder),
    startSide: oneHop(() => ({ ...ROUTES, isUpstreamHttp2: true })),
    load: (port, { seconds, isWarmUp, folder }) =>
      runH2load(`http://127.0.0.1:${port}/bench.Echo/Say`, { seconds, isWarmUp, host: HOST, postedFile: path.join(folder, 'message') }),
  },
  tcp: {
    title: 'TCP bytes, 64 KiB writes',
    unit: 'GiB',
    goal: 1,
    startBackend: () => startSink(),
    async startSide(name, { backendPort, ...place }) {
      const started = await startProxy(name, { ...place, bootstrap: (ports) => tcpBootstrap({ ...ports, backendPort }) });
      return { port: started.port, measured: [started.process] };
    },
    load: (port, { seconds }) => runStream(port, { seconds }),
  },
  handshakes: {
    title: 'new mTLS connections',
    unit: 'connection',
    goal: 1,
    startBackend: ({ folder }) => startNginx(folder),
    startSide: oneHop((tls) => ({ ...ROUTES, downstreamTls: { ...tls, isMutual: true } })),
    load: (port, { seconds, tls }) => runHandshakes(port, { seconds, ...tls }),
  },
} as const satisfies Readonly<Record<string, Scenario>>;

export type ScenarioName = keyof typeof SCENARIOS;
