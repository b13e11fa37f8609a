import { spawn } from 'node:child_process';

/** What one run of wrk did. */
export interface WrkResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Answers that are not 2xx or 3xx, and socket errors. */
  readonly errors: number;
}

/** Reads what wrk prints. Throws where it is no summary of wrk. */
export function parseWrkOutput(text: string): WrkResult {
  const requests = /(\d+) requests in /.exec(text)?.[1];
  const rate = /Requests\/sec:\s+([\d.]+)/.exec(text)?.[1];
  if (requests === undefined || rate === undefined) throw new Error(`wrk printed no summary: ${text.trim().slice(-300)}`);
  const wrongStatus = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)?.slice(1) ?? [];
  return {
    requests: Number(requests),
    requestsPerSecond: Number(rate),
    errors: socketErrors.reduce((sum, count) => sum + Number(count), wrongStatus),
  };
}

/** Saturates a proxy over 64 connections. Throws where a single request failed: its cost would not be that of a request. */
export async function runWrk(url: string, options: { readonly seconds: number; readonly host: string }): Promise<WrkResult> {
  const child = spawn('wrk', ['-t1', '-c64', `-d${options.seconds}s`, '-H', `Host: ${options.host}`, url], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
  const result = parseWrkOutput(output);
  if (result.errors > 0) throw new Error(`${result.errors} of ${result.requests} requests failed:\n${output}`);
  return result;
}
