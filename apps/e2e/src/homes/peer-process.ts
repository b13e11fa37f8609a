import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { workspace } from '../workspace.ts';
import type { PeerName } from './home.ts';

export interface PeerProcess {
  output(): string;
  end(): Promise<void>;
}

/** Runs a peer of src/peers as a process of this machine, outside of any mesh. */
export function startPeerProcess(peer: PeerName, port: number): PeerProcess {
  const child = spawn(process.execPath, [path.join(workspace, 'apps/e2e/src/peers/main.ts'), peer], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return {
    output: () => text,
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}
