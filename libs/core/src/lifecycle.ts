import { errorMessage, isMizzenError } from './errors.ts';
import type { Logger, LogLevel } from './logging.ts';
import { createLogger } from './logging.ts';
import type { SettingsOf, SettingsSchema } from './settings.ts';
import { describeSettings, readSettings } from './settings.ts';

/** Something that was started. `close` is graceful, then forced, and resolves when nothing of it is left. */
export interface Running {
  close(): Promise<void>;
}

export interface App<S extends SettingsSchema> {
  /** Name in logs and in `--help`: `control-plane`. */
  readonly name: string;
  readonly summary: string;
  readonly schema: S;
  /** Starts everything. `rest` is what followed `--` on the command line. */
  readonly start: (context: { settings: SettingsOf<S>; logger: Logger; rest: readonly string[] }) => Promise<Running>;
}

/** Exit codes of every Mizzen process: sysexits' 64 for a wrong command line, as istioctl uses it. */
export const EXIT = { ok: 0, failure: 1, usage: 64, badInput: 65 } as const;

const CLOSE_DEADLINE_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The whole life of a process: reads settings, starts the app, runs until SIGTERM or SIGINT, closes it and exits.
 * A second signal ends it at once. An unhandled rejection is logged and does not end the process: one bad peer must not take the others along.
 */
export async function runApp<S extends SettingsSchema>(
  app: App<S>,
  input = { argv: process.argv.slice(2), env: process.env },
): Promise<void> {
  if (input.argv.includes('--help') && !input.argv.slice(0, input.argv.indexOf('--help')).includes('--')) {
    process.stdout.write(describeSettings(app.schema, { usage: `mizzen ${app.name} [flags]`, summary: app.summary }));
    return;
  }
  let running: Running;
  let logger: Logger;
  // An app that waits for its CA with nothing but a Clock's timers, which do not hold a process, is not done.
  setInterval(() => undefined, LONGEST_TIMER_MS);
  try {
    const { values, rest } = readSettings(app.schema, input);
    logger = createLogger({ app: app.name, level: ((values as Record<string, unknown>)['logLevel'] as LogLevel | undefined) ?? 'info' });
    process.on('unhandledRejection', (reason) => logger.error({ err: reason }, 'unhandled rejection'));
    process.on('uncaughtException', (error) => logger.error({ err: error }, 'uncaught exception'));
    running = await app.start({ settings: values, logger, rest });
  } catch (thrown) {
    const isUsage = isMizzenError(thrown) && thrown.code === 'MIZZEN_SETTINGS';
    process.stderr.write(`mizzen ${app.name}: ${errorMessage(thrown)}\n`);
    if (!isMizzenError(thrown) && typeof thrown === 'object' && thrown !== null && 'stack' in thrown)
      process.stderr.write(`${String(thrown.stack)}\n`);
    process.exit(isUsage ? EXIT.usage : EXIT.failure);
  }
  await untilSignal();
  logger.info('closing');
  const forced = setTimeout(() => process.exit(EXIT.failure), CLOSE_DEADLINE_MS);
  await running.close().catch((thrown: unknown) => logger.error({ err: thrown }, 'close failed'));
  clearTimeout(forced);
  process.exit(EXIT.ok);
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    let signals = 0;
    // SIGINT reaches the whole process group of a terminal; a supervisor's SIGTERM follows it and must not count as the second.
    const onSignal = (signal: NodeJS.Signals): void => {
      signals++;
      if (signals === 1) resolve();
      else if (signal === 'SIGINT' && signals > 2) process.exit(EXIT.failure);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** Collects what was started and closes it in the reverse order, each even if another failed. */
export class CloseStack implements Running {
  readonly #closers: (() => void | Promise<void>)[] = [];

  /** Adds something to close and returns it. */
  use<T extends Running>(running: T): T {
    this.#closers.push(() => running.close());
    return running;
  }

  defer(closer: () => void | Promise<void>): void {
    this.#closers.push(closer);
  }

  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const closer of this.#closers.splice(0).reverse()) {
      try {
        await closer();
      } catch (thrown) {
        failures.push(thrown);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
