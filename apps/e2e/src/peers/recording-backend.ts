import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** A back end that answers whatever looks like a request and remembers how often each mark was asked for. */
export interface RecordingBackend extends AsyncDisposable {
  readonly port: number;
  /** First lines of the requests that carry the mark, in the order of their arrival; with what follows the head as far as it is the body. */
  requestsOf(mark: string): readonly string[];
}

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

/** As lenient as a careless server: it must see what a proxy lets through, and not judge it. */
export async function startRecordingBackend(): Promise<RecordingBackend> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    let bytes = '';
    socket.on('data', (chunk) => {
      bytes += chunk.toString('latin1');
      for (;;) {
        const request = takeRequest(bytes);
        if (request === undefined) return;
        requests.push(request.text);
        bytes = bytes.slice(request.length);
        socket.write(ANSWER);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requestsOf: (mark) => requests.filter((request) => request.includes(mark)),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** The first request of the bytes once all of it is there. */
function takeRequest(bytes: string): { readonly text: string; readonly length: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = bytes.slice(0, end + 2);
  const text = head.slice(0, head.indexOf('\r\n'));
  if (/^transfer-encoding:.*chunked/im.test(head)) {
    const last = /(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/.exec(bytes.slice(end + 4));
    return last === null ? undefined : { text, length: end + 4 + last.index + last[0].length };
  }
  const length = end + 4 + Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  return bytes.length < length ? undefined : { text, length };
}
