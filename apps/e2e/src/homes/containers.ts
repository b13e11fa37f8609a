import { spawnSync } from 'node:child_process';

/** Whether a container engine and Compose v2 answer on this machine. Asked when a spec is read, since Jest wants to know before it runs. */
export function hasContainers(): boolean {
  return answers(['version']) && answers(['compose', 'version']);
}

function answers(args: readonly string[]): boolean {
  return spawnSync('docker', args, { stdio: 'ignore', timeout: 20_000 }).status === 0;
}

/** A command that prints what a proxy's admin port, of its own loopback, answers. */
export function adminCommand(path: string): string[] {
  const print = 'async (answer) => process.stdout.write(await answer.text())';
  return ['node', '-e', `fetch('http://127.0.0.1:15000${path}').then(${print})`];
}

/** Output of `docker ARGS`, standard error included. Throws where it fails. */
export function docker(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('docker', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`docker ${args.join(' ')} ended with ${status}: ${stderr}`);
  return stdout + stderr;
}
