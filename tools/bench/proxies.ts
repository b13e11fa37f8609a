import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import type { JsonObject } from '@bufbuild/protobuf';
import { freePort } from '@mizzen/testing';
import { root } from '../check/workspace.ts';
import { BenchProcess } from './processes.ts';

export type ProxyName = 'mizzen' | 'envoy';

export interface StartedProcess {
  readonly process: BenchProcess;
  readonly port: number;
}

/** Of every plain answer of the back end. */
export const RESPONSE_BYTES = 1024;

export function findEnvoy(): string | undefined {
  const given = process.env['MIZZEN_ENVOY'];
  if (given !== undefined && given !== '') return existsSync(given) ? given : undefined;
  const library = path.join(homedir(), '.cache/envoy-1.40/lib');
  if (!existsSync(library)) return undefined;
  return readdirSync(library)
    .map((python) => path.join(library, python, 'site-packages/envoy/_bin/envoy'))
    .find((file) => existsSync(file));
}

/** A proxy with one worker, once it listens. The bootstrap is told its ports. */
export async function startProxy(
  name: ProxyName,
  options: {
    readonly folder: string;
    readonly bootstrap: (ports: { readonly port: number; readonly adminPort: number }) => JsonObject;
    readonly nodeFlags?: readonly string[];
  },
): Promise<StartedProcess> {
  const port = await freePort();
  const file = path.join(options.folder, `${name}-${port}.json`);
  writeFileSync(file, JSON.stringify(options.bootstrap({ port, adminPort: await freePort() })));
  const command: readonly [string, readonly string[]] =
    name === 'envoy'
      ? [findEnvoy() as string, ['-c', file, '--concurrency', '1', '--base-id', String(port), '-l', 'error']]
      : [
          process.execPath,
          [
            ...(options.nodeFlags ?? []),
            path.join(root, 'apps/cli/bin/mizzen.cjs'),
            'proxy',
            '-c',
            file,
            '--concurrency',
            '1',
            '-l',
            'error',
          ],
        ];
  return listening(new BenchProcess(...command), port);
}

/** nginx with one worker, which answers 1 KiB. */
export async function startNginx(folder: string): Promise<StartedProcess> {
  const port = await freePort();
  const file = path.join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
  server { listen 127.0.0.1:${port}; location / { default_type text/plain; return 200 "${'x'.repeat(RESPONSE_BYTES)}"; } } }`,
  );
  return listening(new BenchProcess('nginx', ['-c', file, '-p', folder]), port);
}

/** An HTTP/2 server in the clear: a file of 64 bytes at /x; what is posted comes back, with a gRPC status behind it. */
export async function startNghttpd(folder: string): Promise<StartedProcess> {
  const port = await freePort();
  writeFileSync(path.join(folder, 'x'), 'x'.repeat(64));
  const args = ['--no-tls', '-d', folder, '-n', '1', '--echo-upload', '--trailer', 'grpc-status: 0', String(port)];
  return listening(new BenchProcess('nghttpd', args), port);
}

/** Takes bytes and throws them away. */
export async function startSink(): Promise<StartedProcess> {
  const port = await freePort();
  return listening(new BenchProcess(process.execPath, [path.join(import.meta.dirname, 'sink.ts'), String(port)]), port);
}

async function listening(process: BenchProcess, port: number): Promise<StartedProcess> {
  try {
    await process.untilListening(port);
  } catch (thrown) {
    await process.stop();
    throw thrown;
  }
  return { process, port };
}
