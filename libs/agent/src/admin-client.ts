import { get } from 'node:http';

export interface AdminAddress {
  readonly host: string;
  readonly port: number;
}

const TIMEOUT_MS = 5000;

/** The body that the proxy's admin port answers `path` with. Rejects on anything but 200. */
export function fetchAdmin({ host, port }: AdminAddress, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, path, timeout: TIMEOUT_MS, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'));
        else reject(new Error(`the admin port answered ${response.statusCode}`));
      });
    });
    request.on('timeout', () => request.destroy(new Error('the admin port does not answer')));
    request.on('error', reject);
  });
}
