import { request as httpRequest, type IncomingMessage } from 'node:http';
import { forwardHeaders, TRACE_HEADERS, USER_HEADERS } from '@mizzen/bookinfo-common';
import type { FastifyRequest } from 'fastify';

export interface RatingsUpstream {
  /** Scheme, host and port, as `http://ratings:9080`. */
  readonly origin: string;
  /** From the call to the last byte of the answer. */
  readonly timeoutMs: number;
}

/** Stars by reviewer. */
export type Ratings = Readonly<Record<string, number>>;

/** The stars of a product; `undefined`, with a line in the log, when the ratings service does not answer 200 in time with ratings. */
export async function fetchRatings(upstream: RatingsUpstream, productId: string, request: FastifyRequest): Promise<Ratings | undefined> {
  const url = `${upstream.origin}/ratings/${productId}`;
  try {
    const { status, body } = await get(url, {
      headers: forwardHeaders(request.headers, [...TRACE_HEADERS, ...USER_HEADERS]),
      timeoutMs: upstream.timeoutMs,
    });
    if (status === 200) return parseRatings(body);
    request.log.warn({ url, status }, 'the ratings service did not answer 200; the stars are left out');
  } catch (error) {
    request.log.warn({ url, reason: (error as Error).message }, 'the ratings service could not be asked; the stars are left out');
  }
  return undefined;
}

/** `node:http` and its own agent, because through a proxy it sends the absolute form where `fetch` would open a tunnel. */
function get(url: string, options: { headers: Record<string, string>; timeoutMs: number }): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(options.timeoutMs);
    const call = httpRequest(url, { headers: { accept: 'application/json', ...options.headers }, signal });
    const fail = (error: Error): void => reject(signal.aborted ? new Error(`no answer within ${options.timeoutMs} ms`) : error);
    call.once('error', fail);
    call.once('response', (response: IncomingMessage) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', fail);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }));
    });
    call.end();
  });
}

function parseRatings(body: string): Ratings {
  const { ratings } = JSON.parse(body) as { ratings?: unknown };
  if (typeof ratings !== 'object' || ratings === null) throw new Error('the answer holds no ratings');
  return Object.fromEntries(Object.entries(ratings).filter((entry): entry is [string, number] => Number.isInteger(entry[1])));
}
