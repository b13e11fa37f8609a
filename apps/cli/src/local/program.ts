import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { meshEnvironment, proxyEnvironment } from './environment.ts';

/** A program of the user's, in this terminal. */
export interface Program {
  readonly isRunning: boolean;
  /** Its exit code; 128 and the signal's number where a signal ended it; 127 where it cannot be started. Never rejects. */
  readonly exited: Promise<number>;
  signal(signal: NodeJS.Signals): void;
}

// A shell that waits for the end of its standard input, whose other end only this process holds, and then ends the program:
// so the program does not stay behind, without a sidecar, when this process is killed.
const GUARD = 'while read -r line; do :; done; kill -TERM "$1" 2>/dev/null';
const NOT_FOUND = 127;

export function startProgram(options: {
  readonly command: string;
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Where it has to listen. */
  readonly port: number;
  readonly httpProxyPort: number;
}): Program {
  const env = { ...meshEnvironment(options.env), PORT: String(options.port), ...proxyEnvironment(options.httpProxyPort) };
  const child = spawn(options.command, options.arguments, { stdio: 'inherit', env });
  const guard =
    child.pid === undefined
      ? undefined
      : spawn('/bin/sh', ['-c', GUARD, 'guard', String(child.pid)], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  guard?.on('error', () => undefined);
  let isRunning = true;
  const exited = new Promise<number>((resolve) => {
    const end = (code: number): void => {
      isRunning = false;
      guard?.kill('SIGKILL');
      resolve(code);
    };
    child.once('error', (error) => {
      process.stderr.write(`mizzen: ${options.command} cannot be started: ${error.message}\n`);
      end(NOT_FOUND);
    });
    child.once('exit', (code, signal) => end(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
  return {
    get isRunning() {
      return isRunning;
    },
    exited,
    signal: (signal) => {
      // The terminal has sent its Ctrl-C to the program too.
      if (isRunning && !(signal === 'SIGINT' && isatty(0))) child.kill(signal);
    },
  };
}
