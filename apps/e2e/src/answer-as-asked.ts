import type { EchoHandler } from '@mizzen/testing';

/**
 * A back end that answers as `x-answer` of the request says, one word for each try (by x-envoy-attempt-count; after the last word it is
 * repeated): a status with headers (`302+location=http://a/b`), `reset` (the connection ends) or `never`. Without the header it echoes.
 */
export const answerAsAsked: EchoHandler = ({ request, response, echo }) => {
  const words = String(request.headers['x-answer'] ?? '').split(' ');
  // An internal redirect begins to count again; what was asked for the request before it is over then.
  const isRedirected = request.headers['x-envoy-original-url'] !== undefined;
  const attempt = isRedirected ? words.length : Number(request.headers['x-envoy-attempt-count'] ?? 1);
  const word = words[Math.min(attempt, words.length) - 1] as string;
  if (word === '' || word === '200') echo();
  else if (word === 'reset') request.socket.destroy();
  else if (word !== 'never') {
    const [status, ...headers] = word.split('+');
    const lines = headers.map((line): [string, string] => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)];
    });
    response.writeHead(Number(status), [...lines, ['content-length', '3']].flat() as string[]);
    response.end('bad');
  }
};
