/** One command operator of a format as it is written: `%NAME(argument):limit%`. Access logs, header values and local replies know it. */
export interface ParsedOperator {
  readonly name: string;
  readonly argument: string | undefined;
  /** Longest value, in characters. */
  readonly limit: number | undefined;
  /** Where it begins, counted from 0. */
  readonly position: number;
}

export class CommandOperatorError extends Error {
  /** Where in the format the fault is, counted from 0. */
  readonly position: number;

  constructor(message: string, position: number) {
    super(`${message} at position ${position}`);
    this.name = 'CommandOperatorError';
    this.position = position;
  }
}

/**
 * Splits a format into text and operators. Throws CommandOperatorError for an operator that is not closed. `%%` is a percent sign; within
 * an argument percent signs (of time formats) stand as they are.
 */
export function parseCommandOperators(format: string): readonly (string | ParsedOperator)[] {
  const parts: (string | ParsedOperator)[] = [];
  let position = 0;
  while (position < format.length) {
    const start = format.indexOf('%', position);
    if (start < 0) {
      parts.push(format.slice(position));
      break;
    }
    if (start > position) parts.push(format.slice(position, start));
    if (format[start + 1] === '%') {
      parts.push('%');
      position = start + 2;
      continue;
    }
    const match = /^%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%/.exec(format.slice(start));
    if (match === null) throw new CommandOperatorError('an operator is not closed: write %NAME%, or %% for a percent sign', start);
    const [whole, name = '', argument, limit] = match;
    parts.push({ name, argument, limit: limit === undefined ? undefined : Number(limit), position: start });
    position = start + whole.length;
  }
  return parts;
}
