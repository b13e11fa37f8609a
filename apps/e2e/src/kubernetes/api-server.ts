import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { run } from './cluster.ts';

/** Ends the API server of a cluster whose API server is a process of this machine. Returns what starts it again as it was. */
export async function stopApiServer(): Promise<() => void> {
  const { stdout } = await run('pgrep', ['-x', 'kube-apiserver']);
  const pid = Number(stdout.trim().split('\n')[0]);
  if (!Number.isInteger(pid) || pid === 0) throw new Error('no process kube-apiserver runs on this machine');
  const [command = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  process.kill(pid, 'SIGTERM');
  await run('tail', ['--pid', String(pid), '-f', '/dev/null']);
  return () => {
    spawn(command, args, { detached: true, stdio: 'ignore' }).unref();
  };
}
