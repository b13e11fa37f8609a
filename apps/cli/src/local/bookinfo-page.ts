import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage, MizzenError } from '@mizzen/core';
import type { Progress } from './progress.ts';

const DEADLINE_MS = 20_000;
const CALL_TIMEOUT_MS = 8000;
const PAUSE_MS = 50;

/** The page through the gateway is the proof that everything found everything; one that does not answer is told and does not end the mesh. */
export async function untilPageAnswers(options: { port: number; progress: Progress; signal: AbortSignal }): Promise<void> {
  const { progress, signal } = options;
  const url = `http://127.0.0.1:${options.port}/productpage`;
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const ask = async (): Promise<void> => {
    for (;;) {
      const answer = await whatAnswers(url);
      if (answer === COMPLETE || signal.aborted) return;
      if (deadline.aborted) throw new MizzenError('MIZZEN_CHILD', `${url} answers ${answer}`);
      await sleep(PAUSE_MS);
    }
  };
  await progress.step('Bookinfo answers', ask).catch((thrown: unknown) => {
    progress.note(`${errorMessage(thrown)}; \`mizzen proxy-status\` and the logs say why`);
  });
}

const COMPLETE = '200';

async function whatAnswers(url: string): Promise<string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS), headers: { connection: 'close' } });
    const text = await response.text();
    if (response.status !== 200) return String(response.status);
    return text.includes('Error fetching product') ? '200 with an error on the page' : COMPLETE;
  } catch (thrown) {
    return `nothing (${errorMessage(thrown)})`;
  }
}
