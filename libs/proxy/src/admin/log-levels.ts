import { LOG_LEVELS, type Logger } from '@mizzen/core';
import type { Answer } from './answer.ts';

// Envoy's words beside the logger's own.
const ENVOY_LEVELS: Readonly<Record<string, string>> = { warning: 'warn', critical: 'fatal', off: 'silent' };

const USAGE =
  '\nusage: /logging?<name>=<level> (change single level)\nusage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n' +
  'usage: /logging?level=<level> (change all levels)\nlevels: trace debug info warning error critical off\n';

/** The one logger that there is; Envoy has one for each component. */
const LOGGER_NAME = 'proxy';

/** POST /logging: shows the level, or sets it by `level`, by name, or by `paths`. */
export function answerLogging(query: URLSearchParams, logger: Logger): Answer {
  const changes = changesOf(query);
  for (const [name, level] of changes) {
    if (name !== undefined && name !== LOGGER_NAME && name !== '*') return refused('unknown logger name', logger);
    if (levelOf(level) === undefined) return refused('unknown logger level', logger);
  }
  for (const [, level] of changes) logger.level = levelOf(level) as string;
  return { body: active(logger) };
}

/** The logger's level for Envoy's or its own word; undefined for neither. */
export function levelOf(word: string): (typeof LOG_LEVELS)[number] | undefined {
  const name = ENVOY_LEVELS[word] ?? word;
  return LOG_LEVELS.find((candidate) => candidate === name);
}

function changesOf(query: URLSearchParams): readonly (readonly [name: string | undefined, level: string])[] {
  return [...query].flatMap(([key, value]): (readonly [string | undefined, string])[] => {
    if (value === '') return [];
    if (key === 'level') return [[undefined, value]];
    if (key !== 'paths' && key !== 'group') return [[key, value]];
    return value.split(',').map((pair) => {
      const colon = pair.lastIndexOf(':');
      return [pair.slice(0, Math.max(0, colon)), pair.slice(colon + 1)] as const;
    });
  });
}

function refused(reason: string, logger: Logger): Answer {
  return { status: 400, body: `error: ${reason}\n${USAGE}${active(logger)}` };
}

function active(logger: Logger): string {
  return `active loggers:\n  ${LOGGER_NAME}: ${logger.level}\n`;
}
