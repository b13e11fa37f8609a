import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Echo } from '@mizzen/testing';

/** An answer without what differs between two runs of one proxy. */
export interface Comparable {
  readonly status: string;
  readonly headers: readonly string[];
  readonly body: unknown;
}

/**
 * A line of the access log without what is known to differ: ours calls every bad letter a codec error, has read nothing of a request that it
 * refuses for its target.
 */
export function maskLogLine(line: string): string {
  return line
    .replace('http1.invalid_characters', 'http1.codec_error')
    .replace(/"\S+ \S+ HTTP\/1.1"(?= 400 - )/, '"- - HTTP/1.1"')
    .replace(/(?<= 400 - (?:missing_host_header|path_normalization_failed) - "-" 0) "[^"]*"/, ' "-"');
}

const ANSWER_TIMEOUT_MS = 15_000;

/** Sends the bytes on a connection of its own and reads the answer. */
export function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = '';
    const timer = setTimeout(() => {
      received += '\n(still open)';
      socket.destroy();
    }, ANSWER_TIMEOUT_MS);
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      // Envoy leaves a connection open for a second after it refused a request.
      if (isComplete(received, bytes.startsWith('HEAD '))) socket.end();
    });
    // A reset after the answer is as good as an end.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(received);
    });
    socket.write(bytes, 'latin1');
  });
}

function isComplete(received: string, isHead: boolean): boolean {
  const final = withoutInterim(received);
  const end = final.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const length = /^content-length: *(\d+)/im.exec(final.slice(0, end))?.[1];
  if (isHead) return true;
  return length === undefined ? final.endsWith('\r\n0\r\n\r\n') : final.length >= end + 4 + Number(length);
}

function withoutInterim(received: string): string {
  return received.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '');
}

export function comparable(received: string): Comparable {
  const final = withoutInterim(received);
  const end = final.indexOf('\r\n\r\n');
  if (end < 0) return { status: final, headers: [], body: '' };
  const [status = '', ...lines] = final.slice(0, end).split('\r\n');
  const isInterim = final.length < received.length;
  const body = final.slice(end + 4);
  const isChunked = lines.some((line) => /^transfer-encoding: *chunked$/i.test(line));
  // Reason phrases mean nothing (RFC 9112 §4), and Envoy has none for some codes.
  const code = status.split(' ').slice(0, 2).join(' ');
  return {
    status: isInterim ? `100 ${code}` : code,
    headers: lines
      .filter((line) => !isMeantToDiffer(line, body))
      .map(maskHeader)
      .sort(),
    body: maskBody(isChunked ? withoutChunks(body) : body),
  };
}

/**
 * Two differences that are meant: Envoy repeats transfer-encoding in an answer to HEAD (RFC 9110 §9.3.2 lets both), and does not tell caches
 * that a CORS answer depends on the origin.
 */
function isMeantToDiffer(line: string, body: string): boolean {
  return line === 'vary: origin' || (body === '' && /^transfer-encoding:/i.test(line));
}

function withoutChunks(body: string): string {
  let rest = body;
  let joined = '';
  for (;;) {
    const lineEnd = rest.indexOf('\r\n');
    const size = Number.parseInt(rest, 16);
    if (lineEnd < 0 || !(size > 0)) return joined;
    joined += rest.slice(lineEnd + 2, lineEnd + 2 + size);
    rest = rest.slice(lineEnd + 4 + size);
  }
}

// Times; and the lengths of echoes, which hold ids of different lengths.
function maskHeader(line: string): string {
  const name = line.slice(0, line.indexOf(':')).toLowerCase();
  return ['date', 'x-envoy-upstream-service-time', 'content-length', 'keep-alive', 'x-request-id'].includes(name) ? `${name}: …` : line;
}

function maskBody(body: string): unknown {
  if (!body.startsWith('{"workload"')) return body;
  const { workload, method, path, headers, body: sent } = JSON.parse(body) as Echo;
  const isRetry = Number(headers['x-envoy-attempt-count'] ?? 1) > 1;
  const masked = Object.entries(headers).map(([name, value]) => [
    name,
    // What is left of the time, after the first try.
    isRetry && name === 'x-envoy-expected-rq-timeout-ms' ? 'the rest' : (MASKS[name]?.(String(value)) ?? value),
  ]);
  return { workload, method, path, sent, headers: Object.fromEntries(masked.sort()) as unknown };
}

const MASKS: Readonly<Record<string, (value: string) => string>> = {
  'x-request-id': maskId,
  // Of a client on the loopback interface Envoy says the machine's own address.
  'x-forwarded-for': (value) =>
    value
      .split(',')
      .map((address) => (OWN_ADDRESSES.has(address) ? 'this machine' : address))
      .join(),
};

const OWN_ADDRESSES: ReadonlySet<string> = new Set(
  Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address)),
);

function maskId(id: string): string {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) ? 'a UUID' : id;
}
