import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a request asks the back end to answer, in its header x-script as JSON. */
export interface AnswerScript {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Base64 in the place of `body`. */
  readonly bytes?: string;
  readonly isChunked?: boolean;
}

export interface ScriptedBackend {
  readonly port: number;
  close(): Promise<void>;
}

/** A back end that answers as the request says, and otherwise with what it received: headers, and the body in base64. */
export async function startScriptedBackend(): Promise<ScriptedBackend> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => answer(request, Buffer.concat(chunks), response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function answer(request: IncomingMessage, received: Buffer, response: ServerResponse): void {
  const { 'x-script': script, ...headers } = request.headers;
  if (script === undefined) {
    const text = JSON.stringify({ method: request.method, path: request.url, headers, body: received.toString('base64') });
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': Buffer.byteLength(text) });
    response.end(text);
    return;
  }
  const { status = 200, headers: own = {}, body = '', bytes, isChunked } = JSON.parse(String(script)) as AnswerScript;
  const content = bytes === undefined ? Buffer.from(body) : Buffer.from(bytes, 'base64');
  response.writeHead(status, { ...own, ...(isChunked ? {} : { 'content-length': String(content.length) }) });
  if (isChunked && request.method !== 'HEAD') response.write(content.subarray(0, content.length / 2));
  response.end(isChunked ? content.subarray(content.length / 2) : content);
}
