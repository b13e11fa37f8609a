import { request } from 'node:http';
import {
  type Clock,
  delay,
  describeSettings,
  EXIT,
  errorMessage,
  isMizzenError,
  MizzenError,
  readSettings,
  type SettingsSchema,
  settings,
  systemClock,
} from '@mizzen/core';

/** What is asked of a running sidecar from within its pod, by hooks of the kubelet mostly. */
export type AgentCommand = 'wait' | 'drain';

const waitSettings = {
  readinessPort: settings.port('readiness-port', { help: 'readiness port of the sidecar', fallback: 15021 }),
  timeout: settings.durationMs('timeout', { help: 'how long to wait', fallback: 60_000, env: 'MIZZEN_WAIT_TIMEOUT' }),
  period: settings.durationMs('period', { help: 'between two attempts', fallback: 500, env: 'MIZZEN_WAIT_PERIOD' }),
};
const drainSettings = {
  statusPort: settings.port('status-port', { help: 'status port of the sidecar', fallback: 15020 }),
};

const LONGEST_TIMER_MS = 2 ** 31 - 1;
const HOST = '127.0.0.1';
const ANSWER_TIMEOUT_MS = 5000;

/** Carries out one command and resolves with the exit code; what went wrong stands on standard error. */
export async function runAgentCommand(command: AgentCommand, argv: readonly string[], clock: Clock = systemClock): Promise<number> {
  const input = { argv, env: process.env };
  // The timers of a Clock do not hold a process.
  const hold = setInterval(() => undefined, LONGEST_TIMER_MS);
  try {
    switch (command) {
      case 'wait':
        if (isHelp(argv)) return help(command, 'Waits until the sidecar of this pod is ready.', waitSettings);
        await waitUntilReady(readSettings(waitSettings, input).values, clock);
        break;
      case 'drain':
        if (isHelp(argv))
          return help(command, 'Tells the sidecar of this pod that the pod goes: its connections end with their exchange.', drainSettings);
        await drain(readSettings(drainSettings, input).values.statusPort);
    }
    return EXIT.ok;
  } catch (thrown) {
    process.stderr.write(`mizzen sidecar ${command}: ${errorMessage(thrown)}\n`);
    return isMizzenError(thrown) && thrown.code === 'MIZZEN_SETTINGS' ? EXIT.usage : EXIT.failure;
  } finally {
    clearInterval(hold);
  }
}

function isHelp(argv: readonly string[]): boolean {
  return argv.includes('--help');
}

function help(command: AgentCommand, summary: string, schema: SettingsSchema): number {
  process.stdout.write(describeSettings(schema, { usage: `sidecar ${command} [flags]`, summary }));
  return EXIT.ok;
}

async function waitUntilReady(values: { readinessPort: number; timeout: number; period: number }, clock: Clock): Promise<void> {
  const deadline = clock.monotonic() + values.timeout;
  for (;;) {
    const reason = await send({ method: 'GET', port: values.readinessPort, path: '/healthz/ready' }).then(
      ({ code, body }) => (code === 200 ? undefined : body.trim()),
      errorMessage,
    );
    if (reason === undefined) return;
    if (clock.monotonic() + values.period > deadline)
      throw new MizzenError('MIZZEN_NOT_RUNNING', `the sidecar is not ready after ${values.timeout / 1000}s: ${reason}`);
    await delay(clock, values.period);
  }
}

async function drain(port: number): Promise<void> {
  const { code, body } = await send({ method: 'POST', port, path: '/drain' }).catch((thrown: unknown) => {
    throw new MizzenError('MIZZEN_NOT_RUNNING', `no sidecar answers on port ${port}: ${errorMessage(thrown)}`, { cause: thrown });
  });
  if (code !== 200) throw new MizzenError('MIZZEN_NOT_RUNNING', `the sidecar answered ${code}: ${body.trim()}`);
}

function send({ method, port, path }: { method: string; port: number; path: string }): Promise<{ code: number; body: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const sent = request({ host: HOST, port, path, method, agent: false, signal }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () => resolve({ code: response.statusCode ?? 0, body }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}
