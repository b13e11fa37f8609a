import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { errorMessage, MizzenError } from '@mizzen/core';

/** The places of one local home (`.mizzen/` unless --home says another). Knowing them touches nothing. */
export interface Home {
  readonly root: string;
  readonly config: string;
  readonly meshConfig: string;
  readonly credentials: string;
  readonly ca: string;
  readonly rootCert: string;
  readonly joinTokenKey: string;
  readonly telemetry: string;
  readonly run: string;
  readonly state: string;
  readonly logs: string;
  readonly tokens: string;
  readonly sockets: string;
  readonly controlSocket: string;
}

// sockaddr_un holds 108 bytes on Linux and 104 on macOS, the final NUL included.
const MAX_SOCKET_PATH_BYTES = 103;
const LONGEST_SOCKET_NAME = 'a-workload-with-quite-a-long-name.sock';

export function homeAt(directory: string, options: { config?: string } = {}): Home {
  const root = resolve(directory);
  const run = join(root, 'run');
  const ca = join(root, 'ca');
  const sockets = socketDirectory(root, run);
  return {
    root,
    config: options.config ? resolve(options.config) : join(root, 'config'),
    meshConfig: join(root, 'mesh.yaml'),
    credentials: join(root, 'credentials'),
    ca,
    rootCert: join(ca, 'root-cert.pem'),
    joinTokenKey: join(ca, 'join-token-key.pem'),
    telemetry: join(root, 'telemetry'),
    run,
    state: join(run, 'state.json'),
    logs: join(run, 'logs'),
    tokens: join(run, 'tokens'),
    sockets,
    controlSocket: join(sockets, 'mizzen.sock'),
  };
}

// A home deep in the tree would make socket paths that the system cuts off; such a home has its sockets in the temporary folder.
function socketDirectory(root: string, run: string): string {
  if (Buffer.byteLength(join(run, LONGEST_SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES) return run;
  const hash = createHash('sha256').update(root).digest('hex').slice(0, 12);
  return join(tmpdir(), `mizzen-${process.getuid?.() ?? 0}-${hash}`);
}

/**
 * Makes the folders. `run` and the sockets are their owner's alone: who may connect to an app's socket goes around its sidecar.
 * Throws MIZZEN_STORE where that cannot be.
 */
export function makeHome(home: Home): void {
  try {
    for (const folder of [home.root, home.config, home.credentials]) mkdirSync(folder, { recursive: true });
    for (const folder of [home.run, home.logs, home.tokens, home.sockets]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    const message = `${home.root} cannot be the home: ${errorMessage(thrown)}; choose another with --home`;
    throw new MizzenError('MIZZEN_STORE', message, { cause: thrown });
  }
}
