import { errorMessage, MizzenError } from '@mizzen/core';

const TIMEOUT_MS = 10_000;

/** GET of a JSON document. Throws MIZZEN_NOT_RUNNING where nobody answers there, MIZZEN_XDS for an answer that is none. */
export async function fetchJson(url: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (thrown) {
    const cause = (thrown as { cause?: unknown }).cause ?? thrown;
    throw new MizzenError(
      'MIZZEN_NOT_RUNNING',
      `${url} does not answer (${codeOf(cause) ?? errorMessage(cause)}); \`mizzen status\` shows what runs`,
      {
        cause: thrown,
      },
    );
  }
  const text = await response.text();
  if (!response.ok) throw new MizzenError('MIZZEN_XDS', `${url} answers ${response.status}: ${text.slice(0, 300)}`);
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new MizzenError('MIZZEN_XDS', `${url} answers no JSON: ${errorMessage(thrown)}`, { cause: thrown });
  }
}

function codeOf(thrown: unknown): string | undefined {
  return (thrown as NodeJS.ErrnoException).code;
}
