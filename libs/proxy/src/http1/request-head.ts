import type { RequestHead } from '../http/stream.ts';
import { removeNominated } from './nominated-headers.ts';
import type { Http1Parser } from './parser.ts';
import { readRequestTarget } from './request-target.ts';
import type { ServerCodecOptions } from './server-options.ts';

/** The head that the parser has just read, as the rest of the proxy sees it. undefined: it is refused, and the parser says why. */
export function readRequestHead(parser: Http1Parser, options: ServerCodecOptions): RequestHead | undefined {
  const [method, target, version] = parser.startLine;
  const isHttp10 = version === 'HTTP/1.0';
  if (!isHttp10 && version !== 'HTTP/1.1') return refuse(parser, 400, 'http1.codec_error');
  if (isHttp10 && !options.acceptsHttp10) return refuse(parser, 426, 'low_version');
  if (isHttp10 && parser.isChunked) return refuse(parser, 400, 'http1.codec_error');
  const host = parser.host ?? (isHttp10 && options.defaultHostForHttp10 !== '' ? options.defaultHostForHttp10 : undefined);
  const read = readRequestTarget(method, target, host);
  if (typeof read === 'string') return refuse(parser, 400, read);
  if (parser.connection !== '') parser.connection = parser.connection.toLowerCase();
  if (!removeNominated(parser.headers, parser.connection)) return refuse(parser, 400, 'http1.connection_header_rejected');
  // Some clients offer HTTP/2 this way with every first request; a server may go on in HTTP/1.1, as Envoy does (RFC 9110 §7.8).
  const isHttp2Offer = parser.upgrade.toLowerCase() === 'h2c';
  if (isHttp2Offer) parser.headers.remove('http2-settings');
  const isConnect = read.method === 'CONNECT';
  if (isConnect && (parser.isChunked || parser.contentLength > 0)) return refuse(parser, 400, 'http1.body_disallowed');
  const hasBody = parser.isChunked || parser.contentLength >= 0;
  const isUpgrade = parser.upgrade !== '' && !isHttp2Offer && !isConnect && !hasBody && hasToken(parser.connection, 'upgrade');
  return {
    protocol: isHttp10 ? 'HTTP/1.0' : 'HTTP/1.1',
    method: read.method,
    path: read.path,
    authority: read.authority,
    scheme: '',
    headers: parser.headers,
    hasBody: hasBody || isConnect || isUpgrade,
    contentLength: parser.contentLength,
    upgrade: isUpgrade ? parser.upgrade.toLowerCase() : '',
    expectsContinue: parser.expect === '100-continue',
    wireBytes: parser.headBytes,
    headerBytes: parser.headerBytes,
  };
}

/** Whether the client sends no further request behind the one whose head {@link readRequestHead} has read. */
export function isLastRequest({ connection }: Http1Parser, isHttp10: boolean): boolean {
  return hasToken(connection, 'close') || (isHttp10 && !hasToken(connection, 'keep-alive'));
}

function refuse(parser: Http1Parser, status: number, details: string): undefined {
  parser.refuse(status, details);
  return undefined;
}

/** `list` is lower-cased. */
function hasToken(list: string, token: string): boolean {
  return list !== '' && (list === token || list.split(',').some((part) => part.trim() === token));
}
