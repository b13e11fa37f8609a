import { spawn } from 'node:child_process';
import { connect } from 'node:net';

/** What one run of a load generator did. */
export interface LoadResult {
  readonly requests: number;
  /** Answers that are no success, and connections that failed. */
  readonly errors: number;
}

/** Reads what wrk prints. Throws where it is no summary of wrk. */
export function parseWrkOutput(text: string): LoadResult {
  const requests = /(\d+) requests in /.exec(text)?.[1];
  if (requests === undefined) throw new Error(`wrk printed no summary: ${text.trim().slice(-300)}`);
  const wrongStatus = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)?.slice(1) ?? [];
  return { requests: Number(requests), errors: socketErrors.reduce((sum, count) => sum + Number(count), wrongStatus) };
}

/** Reads what h2load prints. Throws where it is no summary of h2load. */
export function parseH2loadOutput(text: string): LoadResult {
  const counts = /requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(text);
  const statuses = /status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text);
  if (counts === null || statuses === null) throw new Error(`h2load printed no summary: ${text.trim().slice(-300)}`);
  const [, total, succeeded] = counts.map(Number) as [number, number, number];
  const [, success] = statuses.map(Number) as [number, number];
  return { requests: success, errors: total - Math.min(succeeded, success) };
}

/** Reads what `openssl s_time` prints. Throws where it is no summary. */
export function parseHandshakes(text: string): number {
  const connections = /(\d+) connections in \d+ real seconds/.exec(text)?.[1];
  if (connections === undefined) throw new Error(`openssl s_time printed no summary: ${text.trim().slice(-300)}`);
  return Number(connections);
}

/** Saturates a proxy over 64 connections. Throws where a single request failed: its cost would not be that of a request. */
export async function runWrk(url: string, options: { readonly seconds: number; readonly host: string }): Promise<number> {
  return succeeded(await run('wrk', ['-t1', '-c64', `-d${options.seconds}s`, '-H', `Host: ${options.host}`, url]), parseWrkOutput);
}

/** HTTP/2 over 8 connections of 32 streams; with `postedFile` as gRPC posts a message. Throws as {@link runWrk} does. */
export async function runH2load(
  url: string,
  options: { readonly seconds: number; readonly host: string; readonly isWarmUp: boolean; readonly postedFile?: string },
): Promise<number> {
  const posts =
    options.postedFile === undefined ? [] : ['-d', options.postedFile, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const args = ['-D', String(options.seconds), '-c', '8', '-m', '32', '-t', '1', '-H', `:authority: ${options.host}`, ...posts, url];
  const output = await run('h2load', args);
  const { requests } = parseH2loadOutput(output);
  // What was under way when the time was over counts as failed with h2load.
  const wrong = /status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(output)?.slice(1).map(Number) ?? [];
  // Before it knows how many streams a server takes, Envoy opens more, and answers 503 for those that are refused.
  if (requests === 0 || (!options.isWarmUp && wrong.some((count) => count > 0))) throw new Error(`requests failed:\n${output}`);
  return requests;
}

/** New connections with a client certificate, one after the other. Answers how many there were. */
export async function runHandshakes(
  port: number,
  options: { readonly seconds: number; readonly certificateFile: string; readonly keyFile: string },
): Promise<number> {
  const { seconds, certificateFile, keyFile } = options;
  const args = ['s_time', '-connect', `127.0.0.1:${port}`, '-new', '-time', String(seconds), '-cert', certificateFile, '-key', keyFile];
  return parseHandshakes(await run('openssl', args));
}

const WRITE = Buffer.alloc(64 * 1024, 'x');
const CONNECTIONS = 4;

/** Writes 64 KiB at a time over four connections, and resolves with the GiB written once they were all taken. */
export async function runStream(port: number, options: { readonly seconds: number }): Promise<number> {
  const endMs = performance.now() + options.seconds * 1000;
  const sent = await Promise.all(Array.from({ length: CONNECTIONS }, () => stream(port, endMs)));
  return sent.reduce((sum, bytes) => sum + bytes, 0) / 2 ** 30;
}

function stream(port: number, endMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let bytes = 0;
    const write = (): void => {
      while (performance.now() < endMs) {
        bytes += WRITE.length;
        if (!socket.write(WRITE)) return;
      }
      socket.end();
    };
    socket.on('connect', write);
    socket.on('drain', write);
    socket.on('error', reject);
    // The other side closes when it has read all.
    socket.on('close', () => resolve(bytes));
    socket.resume();
  });
}

async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
  return output;
}

function succeeded(output: string, parse: (text: string) => LoadResult): number {
  const { requests, errors } = parse(output);
  if (errors > 0) throw new Error(`${errors} of ${requests} requests failed:\n${output}`);
  return requests;
}
