/** What a handler answers; text/plain with 200 where nothing else is said. */
export interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly body: string | Buffer;
}

export const JSON_TYPE = 'application/json';

export const OK: Answer = { body: 'OK\n' };

export function jsonAnswer(value: unknown): Answer {
  return { type: JSON_TYPE, body: JSON.stringify(value, undefined, 1) };
}

export function badRequest(body: string): Answer {
  return { status: 400, body };
}
