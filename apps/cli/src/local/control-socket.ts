import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { errorCode, errorMessage, MizzenError, type Running } from '@mizzen/core';

/** What another `mizzen` may ask the supervisor of a home. */
export type ControlRequest =
  | { readonly command: 'ping' }
  | { readonly command: 'down' }
  | { readonly command: 'stop' | 'start' | 'restart' | 'kill'; readonly process: string };

type ControlReply = { readonly ok: true } | { readonly ok: false; readonly message: string };

/**
 * Listens on the home's control socket, one JSON line each way. The socket is also the home's lock: who can connect to it knows that a
 * supervisor lives, and a socket that nobody answers is left over and is replaced. Throws MIZZEN_STORE while another supervisor runs.
 */
export async function serveControl(path: string, handle: (request: ControlRequest) => Promise<void>): Promise<Running> {
  if (await isSupervisorRunning(path)) {
    throw new MizzenError('MIZZEN_STORE', 'the mesh of this home is already running: `mizzen status` shows it, `mizzen down` stops it');
  }
  rmSync(path, { force: true });
  const connections = new Set<Socket>();
  const answers = new Set<Promise<void>>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    readLine(socket, (line) => {
      const answered = answer(line, handle).then((reply) => writeLast(socket, `${JSON.stringify(reply)}\n`));
      answers.add(answered);
      void answered.finally(() => answers.delete(answered));
    });
  });
  await listenOn(server, path);
  return {
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      await Promise.all(answers);
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/** Calls back once, with the first line that comes. */
function readLine(socket: Socket, onLine: (line: string) => void): void {
  // Whoever asked may be gone; there is nobody to tell then. Readline repeats the socket's errors.
  socket.on('error', () => socket.destroy());
  const lines = createInterface({ input: socket });
  lines.on('error', () => undefined);
  lines.once('line', onLine);
}

function writeLast(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    if (socket.destroyed) resolve();
    else socket.end(text, resolve);
  });
}

export async function isSupervisorRunning(path: string): Promise<boolean> {
  try {
    await askSupervisor(path, { command: 'ping' });
    return true;
  } catch {
    return false;
  }
}

/** Sends one request and waits for its end. Throws MIZZEN_NOT_RUNNING where nobody answers, MIZZEN_CHILD with the supervisor's reason. */
export function askSupervisor(path: string, request: ControlRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', (error) =>
      reject(
        new MizzenError('MIZZEN_NOT_RUNNING', 'the mesh of this home is not running; `mizzen up` starts it', {
          cause: error,
          details: { reason: errorCode(error) },
        }),
      ),
    );
    socket.on('close', () => {
      const reply = parseReply(text);
      if (reply.ok) resolve();
      else reject(new MizzenError('MIZZEN_CHILD', reply.message));
    });
  });
}

function parseReply(text: string): ControlReply {
  try {
    return JSON.parse(text) as ControlReply;
  } catch {
    return { ok: false, message: 'the supervisor ended before it answered' };
  }
}

async function answer(line: string, handle: (request: ControlRequest) => Promise<void>): Promise<ControlReply> {
  try {
    await handle(JSON.parse(line) as ControlRequest);
    return { ok: true };
  } catch (thrown) {
    return { ok: false, message: errorMessage(thrown) };
  }
}

function listenOn(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new MizzenError('MIZZEN_STORE', `cannot make the control socket ${path}: ${errorMessage(error)}`, { cause: error })),
    );
    server.listen(path, () => resolve());
  });
}
