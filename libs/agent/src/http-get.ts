import { get as httpGet, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import { get as httpsGet } from 'node:https';

export interface GetRequest {
  readonly host: string;
  readonly port: number;
  /** With its query. */
  readonly path: string;
  readonly isHttps?: boolean;
  readonly headers?: OutgoingHttpHeaders;
  /** Address that the connection comes from. */
  readonly localAddress?: string | undefined;
  /** For the whole exchange. */
  readonly timeoutMs: number;
  /** What is read of the body; the rest is left. Default: everything. */
  readonly maxBodyBytes?: number;
}

export interface GetResponse {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One GET over a connection of its own. Certificates are not verified, as the kubelet does not. Rejects when there is no answer in time. */
export function sendGet(wanted: GetRequest): Promise<GetResponse> {
  const { isHttps = false, localAddress, timeoutMs, maxBodyBytes = Infinity, ...target } = wanted;
  const get = isHttps ? httpsGet : httpGet;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    const request = get(
      {
        ...target,
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        ...(localAddress !== undefined && { localAddress }),
        ...(isHttps && { rejectUnauthorized: false }),
      },
      (response) => {
        const finish = (): void => {
          const body = Buffer.concat(chunks).subarray(0, Math.min(sizeBytes, maxBodyBytes)).toString('utf8');
          resolve({ code: response.statusCode ?? 0, headers: response.headers, body });
        };
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          sizeBytes += chunk.length;
          if (sizeBytes < maxBodyBytes) return;
          finish();
          request.destroy();
        });
        response.on('end', finish);
        response.on('error', reject);
      },
    );
    request.on('error', reject);
  });
}
