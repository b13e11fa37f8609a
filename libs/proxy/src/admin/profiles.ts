import { Session } from 'node:inspector/promises';
import { getHeapSnapshot } from 'node:v8';
import { type Answer, badRequest, JSON_TYPE } from './answer.ts';

const MAX_SNAPSHOT_BYTES = 512 * 1024 * 1024;

/** CPU and heap profiles in the formats that Chromium's developer tools open. */
export class Profiles {
  #cpu: Session | undefined;
  #heap: Session | undefined;

  /** `enable=y` starts, `enable=n` ends and answers with the profile (Envoy writes it to a file). */
  async cpu(enable: string | null): Promise<Answer> {
    if (enable === 'y') {
      if (this.#cpu !== undefined) return { status: 500, body: 'failure to start the profiler: it runs already\n' };
      this.#cpu = connect();
      await this.#cpu.post('Profiler.enable');
      await this.#cpu.post('Profiler.start');
      return { body: 'OK\n' };
    }
    if (enable !== 'n') return badRequest('?enable=<y|n>\n');
    if (this.#cpu === undefined) return badRequest('the profiler does not run; start it with ?enable=y\n');
    const session = this.#cpu;
    this.#cpu = undefined;
    const { profile } = await session.post('Profiler.stop');
    session.disconnect();
    return { type: JSON_TYPE, body: JSON.stringify(profile) };
  }

  /** As `cpu`, for allocations (sampled). */
  async heap(enable: string | null): Promise<Answer> {
    if (enable === 'y') {
      if (this.#heap !== undefined) return { status: 500, body: 'failure to start the profiler: it runs already\n' };
      this.#heap = connect();
      await this.#heap.post('HeapProfiler.startSampling');
      return { body: 'Starting heap profiler\n' };
    }
    if (enable !== 'n') return badRequest('?enable=<y|n>\n');
    if (this.#heap === undefined) return badRequest('the profiler does not run; start it with ?enable=y\n');
    const session = this.#heap;
    this.#heap = undefined;
    const { profile } = await session.post('HeapProfiler.stopSampling');
    session.disconnect();
    return { type: JSON_TYPE, body: JSON.stringify(profile) };
  }

  close(): void {
    this.#cpu?.disconnect();
    this.#heap?.disconnect();
  }
}

function connect(): Session {
  const session = new Session();
  session.connect();
  return session;
}

/** All objects of the process, as a heap snapshot; the process stands still meanwhile. */
export async function heapDump(): Promise<Answer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of getHeapSnapshot() as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_SNAPSHOT_BYTES) return { status: 500, body: 'the heap is too large for a snapshot over this port\n' };
    chunks.push(chunk);
  }
  return { type: JSON_TYPE, body: Buffer.concat(chunks) };
}
