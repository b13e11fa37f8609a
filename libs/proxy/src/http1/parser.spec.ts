import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { ParseFailure } from './message-head.ts';
import { type BodyFraming, Http1Parser } from './parser.ts';

interface Parsed {
  readonly messages: { start: readonly string[]; host: string | undefined; headers: string[]; body: string; trailers: string[] }[];
  readonly failure: ParseFailure | undefined;
  readonly isInMessage: boolean;
}

/** Feeds the pieces one after the other, as reads would, and records what was understood. */
function parse(pieces: readonly string[], isRequest = true): Parsed {
  const messages: Parsed['messages'] = [];
  const parser: Http1Parser = new Http1Parser(
    {
      onHead(): BodyFraming {
        const headers = parser.headers.names.map((name, index) => `${name}: ${parser.headers.values[index]}`);
        messages.push({ start: parser.startLine, host: parser.host, headers, body: '', trailers: [] });
        return parser.isChunked ? 'chunked' : parser.contentLength >= 0 ? 'length' : isRequest ? 'none' : 'until-close';
      },
      onBody(chunk) {
        (messages.at(-1) as { body: string }).body += chunk.toString('latin1');
      },
      onTrailers(trailers) {
        messages.at(-1)?.trailers.push(...trailers.names.map((name, index) => `${name}: ${trailers.values[index]}`));
      },
      onMessageEnd() {},
    },
    { limits: { maxHeadBytes: 2048, maxHeaders: 10 }, isRequest },
  );
  for (const piece of pieces) {
    let bytes = Buffer.from(piece, 'latin1');
    while (bytes.length > 0 && parser.failure === undefined) bytes = bytes.subarray(parser.execute(bytes));
  }
  return { messages, failure: parser.failure, isInMessage: parser.isInMessage };
}

const TWO_REQUESTS =
  'POST /a?b HTTP/1.1\r\nHost: h:80\r\nX-One:  1 \r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\nB\r\npedia in it\r\n0\r\nT-One: t\r\n\r\nGET / HTTP/1.1\r\nhost: i\r\n\r\n';

describe('Http1Parser', () => {
  it('understands requests, whatever their case and spacing', () => {
    const { messages, isInMessage } = parse([TWO_REQUESTS]);
    expect(messages).toEqual([
      { start: ['POST', '/a?b', 'HTTP/1.1'], host: 'h:80', headers: ['x-one: 1'], body: 'Wikipedia in it', trailers: ['t-one: t'] },
      { start: ['GET', '/', 'HTTP/1.1'], host: 'i', headers: [], body: '', trailers: [] },
    ]);
    expect(isInMessage).toBe(false);
  });

  it('understands the same at every place where reads may cut', () => {
    const whole = parse([TWO_REQUESTS]);
    for (let cut = 1; cut < TWO_REQUESTS.length; cut++) {
      expect({ cut, ...parse([TWO_REQUESTS.slice(0, cut), TWO_REQUESTS.slice(cut)]) }).toEqual({ cut, ...whole });
    }
    expect(parse([...TWO_REQUESTS])).toEqual(whole);
  });

  it('understands responses, with and without a reason', () => {
    expect(
      parse(
        ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 'HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n', 'HTTP/1.0 200 \r\n\r\nrest'],
        false,
      ).messages.map(({ start, body }) => [...start, body]),
    ).toEqual([
      ['HTTP/1.1', '200', 'OK', 'ok'],
      ['HTTP/1.1', '404', '', ''],
      ['HTTP/1.0', '200', '', 'rest'],
    ]);
  });

  it('skips empty lines before a request, also those that reads cut', () => {
    const text = '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n';
    for (let cut = 1; cut < text.length; cut++) expect(parse([text.slice(0, cut), text.slice(cut)]).messages).toHaveLength(1);
  });

  it('keeps bytes above 127 in values as they are', () => {
    expect(parse(['GET / HTTP/1.1\r\nHost: a\r\nX: \xfc\xff\r\n\r\n']).messages[0]?.headers).toEqual(['x: \xfc\xff']);
  });

  describe('when a message could be read in two ways', () => {
    const head = 'POST / HTTP/1.1\r\nHost: a\r\n';
    it.each<[what: string, text: string, status: number]>([
      ['a length and chunks', `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
      ['chunks and a length', `${head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`, 400],
      ['two lengths', `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`, 400],
      ['the same length twice', `${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`, 400],
      ['a list of lengths', `${head}Content-Length: 5, 5\r\n\r\n`, 400],
      ['a signed length', `${head}Content-Length: +5\r\n\r\n`, 400],
      ['a negative length', `${head}Content-Length: -1\r\n\r\n`, 400],
      ['a hexadecimal length', `${head}Content-Length: 0x5\r\n\r\n`, 400],
      ['a length with a fraction', `${head}Content-Length: 5.0\r\n\r\n`, 400],
      ['a length too long to count', `${head}Content-Length: 99999999999999999999\r\n\r\n`, 400],
      ['an empty length', `${head}Content-Length:\r\n\r\n`, 400],
      ['another transfer coding', `${head}Transfer-Encoding: gzip\r\n\r\n`, 501],
      ['chunked behind another coding', `${head}Transfer-Encoding: gzip, chunked\r\n\r\n`, 501],
      ['chunked twice in a list', `${head}Transfer-Encoding: chunked, chunked\r\n\r\n`, 501],
      ['chunked twice', `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 501],
      ['chunked and identity', `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n`, 501],
      ['a coding in quotes', `${head}Transfer-Encoding: "chunked"\r\n\r\n`, 501],
      ['a coding with a parameter', `${head}Transfer-Encoding: chunked;a=b\r\n\r\n`, 501],
      ['a coding with a vertical tab', `${head}Transfer-Encoding: \x0bchunked\r\n\r\n`, 400],
      ['an empty coding', `${head}Transfer-Encoding:\r\n\r\n`, 501],
      ['space before the colon', `${head}Transfer-Encoding : chunked\r\n\r\n`, 400],
      ['a tab before the colon', `${head}Content-Length\t: 5\r\n\r\n`, 400],
      ['a space before the name', `${head} Content-Length: 5\r\n\r\n`, 400],
      ['a folded line', `${head}X: 1\r\n 2\r\n\r\n`, 400],
      ['a folded coding', `${head}Transfer-Encoding:\r\n chunked\r\n\r\n`, 501],
      ['a bare line feed', 'GET / HTTP/1.1\nHost: a\n\n', 400],
      ['a bare line feed in the middle', `${head}X: 1\nContent-Length: 5\r\n\r\n`, 400],
      ['a bare carriage return in a value', `${head}X: 1\rContent-Length: 5\r\n\r\n`, 400],
      ['a bare carriage return before a name', `${head}X:X\rTransfer-Encoding: chunked\r\n\r\n`, 400],
      ['a zero byte in a value', `${head}X: a\0b\r\n\r\n`, 400],
      ['a zero byte in a name', `${head}X\0: b\r\n\r\n`, 400],
      ['a zero byte in the target', 'GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
      ['a line without a colon', `${head}Nonsense\r\n\r\n`, 400],
      ['an empty name', `${head}: x\r\n\r\n`, 400],
      ['a name with a separator', `${head}X(y): x\r\n\r\n`, 400],
      ['a name above ASCII', `${head}X\xff: x\r\n\r\n`, 400],
      ['two hosts', `${head}Host: b\r\n\r\n`, 400],
      ['two spaces in the request line', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
      ['a tab in the request line', 'GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n', 400],
      ['no version', 'GET /\r\nHost: a\r\n\r\n', 400],
      ['a space before the method', ' GET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
      ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00', 400],
      ['a chunk size with a sign', `${head}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk size with 0x', `${head}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk size with a space before', `${head}Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk size with a space behind', `${head}Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n`, 400],
      ['an empty chunk size', `${head}Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk size too long', `${head}Transfer-Encoding: chunked\r\n\r\n00000000000005\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk size line with a bare line feed', `${head}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk extension with a line feed', `${head}Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n`, 400],
      ['an endless chunk extension', `${head}Transfer-Encoding: chunked\r\n\r\n5;${'a'.repeat(2000)}\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk longer than it says', `${head}Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n`, 400],
      ['a chunk ended by a bare line feed', `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n`, 400],
      ['a last chunk with a line feed', `${head}Transfer-Encoding: chunked\r\n\r\n0\r\n\n`, 400],
      ['a trailer that is folded', `${head}Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n 2\r\n\r\n`, 400],
      ['too many headers', `${head}${'A: b\r\n'.repeat(10)}\r\n`, 431],
      ['a head too large', `${head}X: ${'a'.repeat(2048)}\r\n\r\n`, 431],
      ['a head that never ends', `${head}X: ${'a'.repeat(4096)}`, 431],
    ])('%s is refused', (_what, text, status) => {
      const whole = parse([text]);
      expect(whole.failure?.status).toBe(status);
      // Byte by byte it must be no other message.
      expect(parse([...text]).failure?.status).toBe(status);
      expect(whole.messages.length).toBeLessThanOrEqual(1);
    });
  });

  it.each(['HTTP/1.1 20 OK', 'HTTP/1.1 2000 OK', 'HTTP/1.1 abc OK', 'HTTP/1.1', 'nonsense', 'HTTP/1.1 200 O\0K'])(
    'refuses the status line %j',
    (line) => {
      expect(parse([`${line}\r\nContent-Length: 0\r\n\r\n`], false).failure).toBeDefined();
    },
  );

  it('gives the same for every way in which reads cut, and never throws', () => {
    const token = fc.constantFrom(
      'GET',
      'POST',
      ' ',
      '/',
      '/a?b',
      'HTTP/1.1',
      '\r\n',
      '\n',
      '\r',
      ': ',
      ':',
      'Host',
      'Content-Length',
      'Transfer-Encoding',
      'chunked',
      '5',
      '0',
      'hello',
      '\0',
      '\t',
      ';x',
      ',',
      'a',
    );
    const text = fc.oneof(
      fc.array(token, { maxLength: 40 }).map((parts) => parts.join('')),
      fc
        .array(fc.tuple(fc.nat(TWO_REQUESTS.length), token), { maxLength: 3 })
        .map((edits) => edits.reduce((whole, [at, part]) => whole.slice(0, at) + part + whole.slice(at), TWO_REQUESTS)),
    );
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 8 }), (whole, cuts) => {
        const places = [0, ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
        const pieces = places.slice(1).map((end, index) => whole.slice(places[index], end));
        const [once, cut] = [parse([whole]), parse(pieces)];
        expect(cut.failure === undefined).toBe(once.failure === undefined);
        if (once.failure === undefined) expect(cut).toEqual(once);
      }),
      { numRuns: 2000 },
    );
  });
});
