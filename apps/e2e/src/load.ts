import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface LoadReport {
  readonly sent: number;
  readonly failures: readonly string[];
}

export interface Load {
  /** Resolves once `count` more requests were answered from now on. */
  answered(count: number): Promise<void>;
  stop(): Promise<LoadReport>;
}

/**
 * Keeps `concurrency` requests going over kept-alive connections until it is stopped, each after a pause of `pauseMs` (default 0). Whatever is not a 200 that `isGood` accepts, a broken
 * connection included, is a failure.
 */
export function startLoad(url: string, options: { concurrency?: number; pauseMs?: number; isGood?: (body: string) => boolean } = {}): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: options.concurrency ?? 4 });
  const failures: string[] = [];
  const waiters: { at: number; resolve: () => void }[] = [];
  let sent = 0;
  let answered = 0;
  let isStopping = false;

  const loop = async (): Promise<void> => {
    while (!isStopping) {
      sent++;
      const problem = await once(url, agent, options.isGood ?? (() => true));
      if (problem !== undefined) failures.push(problem);
      answered++;
      for (const waiter of waiters) if (answered >= waiter.at) waiter.resolve();
      if (options.pauseMs !== undefined) await sleep(options.pauseMs);
    }
  };
  const loops = Array.from({ length: options.concurrency ?? 4 }, loop);
  return {
    answered: (count) => new Promise((resolve) => waiters.push({ at: answered + count, resolve })),
    async stop() {
      isStopping = true;
      await Promise.all(loops);
      agent.destroy();
      return { sent, failures };
    },
  };
}

function once(url: string, agent: Agent, isGood: (body: string) => boolean): Promise<string | undefined> {
  return new Promise((resolve) => {
    const sending = request(url, { agent }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.on('error', (error) => resolve(`answer broken: ${error.message}`));
      response.on('end', () => {
        if (response.statusCode !== 200) resolve(`status ${response.statusCode}: ${body.slice(0, 200)}`);
        else resolve(isGood(body) ? undefined : 'unexpected body');
      });
    });
    sending.on('error', (error) => resolve(`${(error as { code?: string }).code ?? ''} ${error.message}`));
    sending.end();
  });
}
