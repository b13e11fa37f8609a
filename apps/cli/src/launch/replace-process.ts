import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/**
 * Runs Node with `nodeArguments` in the place of this process: same pid, so that signals, memory and exit code are the app's own.
 * Where the system cannot do that (Windows), the app is a child and its exit code is passed on.
 */
export function replaceProcess(nodeArguments: readonly string[], env: NodeJS.ProcessEnv): void {
  if (typeof process.execve === 'function' && process.platform !== 'win32') {
    process.execve(process.execPath, [process.execPath, ...process.execArgv, ...nodeArguments], env);
    return;
  }
  const child = spawn(process.execPath, [...process.execArgv, ...nodeArguments], { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal as NodeJS.Signals]));
}
