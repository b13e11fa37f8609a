import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '../until.ts';
import { type Pod, run } from './cluster.ts';

export interface Capture {
  /** Everything that went over the pod's interface so far, as text. */
  text(): string;
  stop(): Promise<void>;
}

/** Listens on a pod's network interface, from this machine: what anybody on the wire between pods would see. Needs root and tcpdump. */
export async function captureTraffic(pod: Pod): Promise<Capture> {
  const network = await networkNamespaceOf(pod);
  const child = spawn('ip', ['netns', 'exec', network, 'tcpdump', '-i', 'eth0', '-l', '-n', '-A', '-s', '0', 'tcp'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  let messages = '';
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    messages += chunk;
  });
  await until('tcpdump listens', async () => {
    if (child.exitCode !== null) throw new Error(`tcpdump ended with ${child.exitCode}: ${messages}`);
    return messages.includes('listening on') ? true : undefined;
  });
  return {
    text: () => text,
    async stop() {
      if (child.exitCode !== null) return;
      child.kill('SIGINT');
      await once(child, 'close');
    },
  };
}

async function networkNamespaceOf(pod: Pod): Promise<string> {
  const { stdout } = await run('ip', ['netns', 'list']);
  for (const line of stdout.split('\n')) {
    const name = line.split(' ', 1)[0] ?? '';
    if (name === '') continue;
    const addresses = await run('ip', ['netns', 'exec', name, 'ip', '-o', 'addr', 'show', 'eth0']);
    if (addresses.stdout.includes(` ${pod.status.podIP}/`)) return name;
  }
  throw new Error(`no network namespace on this machine has the address ${pod.status.podIP} of ${pod.metadata.name}`);
}
