import type { Logger } from 'pino';
import { pino } from 'pino';

export type { Logger };

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * The logger of one process: JSON lines on standard error, so that standard output stays free for what the process is asked to print
 * (access logs, a command's answer). Messages are constant, data is in fields named by the glossary.
 */
export function createLogger(options: { app: string; level?: LogLevel }): Logger {
  return pino(
    {
      base: { app: options.app },
      level: options.level ?? 'info',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** For tests and for callers that want no log. */
export const silentLogger: Logger = pino({ level: 'silent' });
