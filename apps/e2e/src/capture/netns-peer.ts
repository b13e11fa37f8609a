import { createSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';

// A program inside a network namespace: serves and asks what its parent tells it to by messages.

export interface Question {
  readonly protocol: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
  /** What is sent; the answer is taken once something came and nothing more does, or at the end. Empty: the server speaks first. */
  readonly text: string;
}

export type Order =
  | {
      readonly id: number;
      readonly kind: 'serve';
      readonly name: string;
      readonly host: string;
      readonly port: number;
      readonly greets: boolean;
    }
  | { readonly id: number; readonly kind: 'serveUdp'; readonly name: string; readonly host: string; readonly port: number }
  | ({ readonly id: number; readonly kind: 'ask' } & Question);

export interface Report {
  readonly id: number;
  readonly answer: string;
}

const PATIENCE_MS = 15_000;

process.on('message', (order: Order) => {
  void obey(order).then((answer) => process.send?.({ id: order.id, answer } satisfies Report));
});
process.on('disconnect', () => process.exit());

function obey(order: Order): Promise<string> {
  if (order.kind === 'serve') return serve(order);
  if (order.kind === 'serveUdp') return serveUdp(order);
  return order.protocol === 'udp' ? askUdp(order) : askTcp(order);
}

/** Answers each connection with who it is, where the connection came from and where it went, in HTTP where it was asked in HTTP. */
function serve({ name, host, port, greets }: Extract<Order, { kind: 'serve' }>): Promise<string> {
  const server = createServer((socket) => {
    const facts = `${name}: ${plain(socket.remoteAddress)} to ${plain(socket.localAddress)}:${socket.localPort}`;
    socket.on('error', () => socket.destroy());
    if (greets) socket.end(facts);
    else socket.once('data', (bytes) => socket.end(answerTo(bytes.toString('latin1'), facts)));
  });
  return new Promise((resolve) => {
    server.once('error', (error) => resolve(String(error)));
    server.listen(port, host, () => resolve('listening'));
  });
}

function answerTo(text: string, facts: string): string {
  if (!/ HTTP\/1\.1\r\n/.test(text)) return facts;
  const body = `${facts} host ${/^host: (.*)\r$/im.exec(text)?.[1]}`;
  return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
}

function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '');
}

function serveUdp({ name, host, port }: Extract<Order, { kind: 'serveUdp' }>): Promise<string> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (_, from) => socket.send(name, from.port, from.address));
  return new Promise((resolve) => {
    socket.once('error', (error) => resolve(String(error)));
    socket.bind(port, host, () => resolve('listening'));
  });
}

function askTcp({ host, port, text }: Question): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    const socket: Socket = connect({ host, port }, () => socket.write(text));
    const timer = setTimeout(() => socket.destroy(Object.assign(new Error(), { code: 'TIMEOUT' })), PATIENCE_MS);
    socket.setEncoding('latin1').on('data', (chunk) => {
      received += chunk;
    });
    let failure = '';
    socket.on('error', (error) => {
      failure = `error ${(error as NodeJS.ErrnoException).code}`;
    });
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(received === '' ? failure || 'closed' : bodyOf(received));
    });
  });
}

/** Of an HTTP answer what does not differ between proxies. */
function bodyOf(received: string): string {
  const match = /^HTTP\/1\.1 (\d{3}) [\s\S]*?\r\n\r\n([\s\S]*)$/.exec(received);
  return match === null ? received : `${match[1]} ${match[2]}`;
}

function askUdp({ host, port, text }: Question): Promise<string> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    const end = (answer: string): void => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end('nothing'), PATIENCE_MS);
    socket.once('message', (bytes) => end(bytes.toString()));
    socket.once('error', (error) => end(`error ${(error as NodeJS.ErrnoException).code}`));
    // Connected, as resolvers are: an answer from another address than that asked is not taken.
    socket.connect(port, host, () => socket.send(text));
  });
}
