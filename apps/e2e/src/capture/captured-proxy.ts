import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { until } from '../until.ts';
import { workspace } from '../workspace.ts';
import { captureBootstrap, LOG_MARK } from './capture-bootstrap.ts';
import { type Namespace, type NetnsPeer, PROXY_ID } from './netns.ts';

const ADMIN_PORT = 15000;

export const OUR_PROXY: readonly string[] = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  path.join(workspace, 'apps/sidecar/src/proxy-main.ts'),
  '-c',
];

export function envoyCommand(binary: string): readonly string[] {
  return [binary, '--disable-hot-restart', '--concurrency', '1', '--file-flush-interval-msec', '20', '-l', 'warning', '-c'];
}

/** A proxy in the workload's namespace, as the user that rules leave alone. */
export interface CapturedProxy {
  /** The lines of its access log so far, sorted; resolves once there are so many. */
  log(count: number): Promise<readonly string[]>;
  close(): void;
}

/** Starts a proxy with the bootstrap of capture; `peer` runs in the same namespace and asks whether it is ready. */
export async function startCapturedProxy(
  command: readonly string[],
  { workload, peer }: { readonly workload: Namespace; readonly peer: NetnsPeer },
): Promise<CapturedProxy> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-capture-'));
  chmodSync(folder, 0o755);
  const file = (name: string): string => path.join(folder, name);
  writeFileSync(file('bootstrap.json'), JSON.stringify(captureBootstrap(ADMIN_PORT)));
  const output = openSync(file('output'), 'a');
  // Envoy opens /dev/stdout anew, as the user that it runs as.
  chmodSync(file('output'), 0o666);
  const child = workload.start([...command, file('bootstrap.json')], { uid: PROXY_ID, output });
  closeSync(output);
  const read = (): string => readFileSync(file('output'), 'utf8');
  const request = 'GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n';
  await until('a proxy that is ready', async () => {
    if (child.exitCode !== null) throw new Error(`it has ended: ${read()}`);
    const answer = await peer.ask({ protocol: 'tcp', host: '127.0.0.1', port: ADMIN_PORT, text: request });
    return answer.includes('LIVE') ? true : undefined;
  });
  return {
    log: (count) =>
      until(`${count} lines of access log`, async () => {
        const lines = read()
          .split('\n')
          .filter((line) => line.startsWith(LOG_MARK))
          .map((line) => line.slice(LOG_MARK.length + 1));
        if (lines.length < count) throw new Error(`it has ${lines.length}:\n${read()}`);
        return lines.sort();
      }),
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
