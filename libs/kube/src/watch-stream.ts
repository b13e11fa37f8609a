import type { IncomingMessage } from 'node:http';
import type { WatchEvent } from './contract.ts';
import { KubeError } from './kube-error.ts';

/** Largest event: etcd's largest object (1.5 MiB) as JSON, with room. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/** The events of a watch, one JSON object a line. Throws a KubeError on a line that is none or too long, and when the connection breaks. */
export async function* watchEvents(body: IncomingMessage, asked: string): AsyncGenerator<WatchEvent> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
        const line = chunk.subarray(from, end);
        from = end + 1;
        const text = rest.length === 0 ? line.toString('utf8') : Buffer.concat([...rest, line]).toString('utf8');
        rest = [];
        restBytes = 0;
        if (text.trim() !== '') yield parseEvent(text, asked);
      }
      if (from < chunk.length) {
        rest.push(chunk.subarray(from));
        restBytes += chunk.length - from;
        if (restBytes > MAX_LINE_BYTES) throw new KubeError(`${asked}: an event is larger than ${MAX_LINE_BYTES} bytes`, { status: 0 });
      }
    }
  } finally {
    body.destroy();
  }
}

function parseEvent(text: string, asked: string): WatchEvent {
  try {
    const event = JSON.parse(text) as WatchEvent;
    if (typeof event.type === 'string' && typeof event.object === 'object' && event.object !== null) return event;
  } catch {
    // Said below.
  }
  throw new KubeError(`${asked}: an event is not JSON as a watch has it: ${text.slice(0, 100)}`, { status: 0 });
}
