/** Bytes of one connection, as latin-1, that try to make two parsers disagree on where a request ends. `ID` stands for the attempt's own mark. */
export interface SmugglingAttempt {
  readonly name: string;
  readonly bytes: string;
}

/** What a parser that took too little or too much for the body of the first request would take for a request of its own. */
const SECOND = 'GET /second-ID HTTP/1.1\r\nHost: a.example\r\n\r\n';
const CHUNKED_BODY = '5\r\nhello\r\n0\r\n\r\n';

function post(headers: readonly string[], body: string): string {
  return `POST /first-ID HTTP/1.1\r\nHost: a.example\r\n${headers.join('\r\n')}\r\n\r\n${body}${SECOND}`;
}

function raw(head: string): string {
  return `${head}${SECOND}`;
}

const CONTROL = [
  0x00, 0x01, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x1f, 0x20, 0x22, 0x2c, 0x2e, 0x3a, 0x3b, 0x5f, 0x7f, 0x80, 0x85, 0xa0, 0xff,
];

function nameOf(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}

/** One byte more in each place of a field line where a lenient parser might overlook it. */
function fieldMutations(name: string, value: string): readonly SmugglingAttempt[] {
  const places: readonly (readonly [string, (letter: string) => string])[] = [
    ['before the name', (letter) => `${letter}${name}: ${value}`],
    ['after the name', (letter) => `${name}${letter}: ${value}`],
    ['within the name', (letter) => `${name.slice(0, 4)}${letter}${name.slice(4)}: ${value}`],
    ['after the colon', (letter) => `${name}:${letter}${value}`],
    ['before the value', (letter) => `${name}: ${letter}${value}`],
    ['after the value', (letter) => `${name}: ${value}${letter}`],
    ['within the value', (letter) => `${name}: ${value.slice(0, 1)}${letter}${value.slice(1)}`],
    ['in a field of its own before it', (letter) => `X: X${letter}${name}: ${value}`],
    ['with a line end before it', (letter) => `X: X${letter}\r\n${name}: ${value}`],
    ['with a line end after it', (letter) => `X: X\r\n${letter}${name}: ${value}`],
  ];
  return places
    .flatMap(([place, mutate]) =>
      CONTROL.map((byte) => ({ name: `${name} with ${nameOf(byte)} ${place}`, field: mutate(String.fromCharCode(byte)) })),
    )
    .map(({ name: title, field }) => ({ name: title, bytes: fieldAttempt(name, field) }));
}

/** A field that is understood makes the body chunked or five bytes long; one that is not leaves the other framing, or none. */
function fieldAttempt(name: string, field: string): string {
  return name === 'Transfer-Encoding' ? post(['Content-Length: 5', field], CHUNKED_BODY) : post([field], 'hello');
}

const ENCODINGS = [
  'chunked',
  'Chunked',
  'CHUNKED',
  'xchunked',
  'chunkedx',
  'chunked, identity',
  'identity, chunked',
  'identity',
  'chunked, chunked',
  'chunked;q=1',
  '"chunked"',
  "'chunked'",
  'chunked,',
  ',chunked',
  'gzip, chunked',
  'chunked, gzip',
  'gzip',
  'cow',
  '',
  'chunk\ted',
  'c\u0000hunked',
  'trailers, chunked',
];

const ENCODING_ATTEMPTS: readonly SmugglingAttempt[] = ENCODINGS.flatMap((encoding) => [
  { name: `transfer-encoding "${encoding}"`, bytes: post([`Transfer-Encoding: ${encoding}`], CHUNKED_BODY) },
  {
    name: `transfer-encoding "${encoding}" and a length`,
    bytes: post([`Transfer-Encoding: ${encoding}`, 'Content-Length: 5'], CHUNKED_BODY),
  },
  {
    name: `a length and transfer-encoding "${encoding}"`,
    bytes: post(['Content-Length: 15', `Transfer-Encoding: ${encoding}`], CHUNKED_BODY),
  },
  {
    name: `two transfer-encodings, "${encoding}" last`,
    bytes: post(['Transfer-Encoding: chunked', `Transfer-Encoding: ${encoding}`], CHUNKED_BODY),
  },
  {
    name: `two transfer-encodings, "${encoding}" first`,
    bytes: post([`Transfer-Encoding: ${encoding}`, 'Transfer-Encoding: chunked'], CHUNKED_BODY),
  },
  {
    name: `nominated transfer-encoding "${encoding}"`,
    bytes: post([`Transfer-Encoding: ${encoding}`, 'Connection: Transfer-Encoding'], CHUNKED_BODY),
  },
]);

const LENGTHS = [
  '5',
  '05',
  '+5',
  '-5',
  '0x5',
  '5,5',
  '5, 5',
  '5;5',
  '5 5',
  '5.0',
  '5e0',
  ' 5',
  '5 ',
  '\t5',
  '"5"',
  '',
  'five',
  '00000000000000000005',
  '18446744073709551621',
  '99999999999999999999',
  '4294967301',
  '5\u0000',
  '５',
];

const LENGTH_ATTEMPTS: readonly SmugglingAttempt[] = LENGTHS.flatMap((length) => [
  { name: `content-length "${length}"`, bytes: post([`Content-Length: ${length}`], 'hello') },
  { name: `content-length 5, then "${length}"`, bytes: post(['Content-Length: 5', `Content-Length: ${length}`], 'hello') },
  { name: `content-length "${length}", then 5`, bytes: post([`Content-Length: ${length}`, 'Content-Length: 5'], 'hello') },
  { name: `content-length 0, then "${length}"`, bytes: post(['Content-Length: 0', `Content-Length: ${length}`], 'hello') },
  { name: `nominated content-length "${length}"`, bytes: post([`Content-Length: ${length}`, 'Connection: content-length'], 'hello') },
  {
    name: `GET with content-length "${length}"`,
    bytes: `GET /first-ID HTTP/1.1\r\nHost: a.example\r\nContent-Length: ${length}\r\n\r\nhello${SECOND}`,
  },
]);

const CHUNKS: readonly (readonly [string, string])[] = [
  ['a size with leading zeros', '00005\r\nhello\r\n0\r\n\r\n'],
  ['a size with a sign', '+5\r\nhello\r\n0\r\n\r\n'],
  ['a negative size', '-5\r\nhello\r\n0\r\n\r\n'],
  ['a size with 0x', '0x5\r\nhello\r\n0\r\n\r\n'],
  ['a size with a space before', ' 5\r\nhello\r\n0\r\n\r\n'],
  ['a size with a space after', '5 \r\nhello\r\n0\r\n\r\n'],
  ['a size with a tab after', '5\t\r\nhello\r\n0\r\n\r\n'],
  ['an underscore in the size', '0_5\r\nhello\r\n0\r\n\r\n'],
  ['an extension', '5;a=b\r\nhello\r\n0\r\n\r\n'],
  ['an extension without a name', '5;\r\nhello\r\n0\r\n\r\n'],
  ['an extension with a quoted line end', '5;a="\r\n"\r\nhello\r\n0\r\n\r\n'],
  ['an extension with a bare LF', '5;a\nhello\r\n0\r\n\r\n'],
  ['an extension with a bare CR', '5;a\rb\r\nhello\r\n0\r\n\r\n'],
  ['an extension with a control', '5;a\u0001\r\nhello\r\n0\r\n\r\n'],
  ['a space before the extension', '5 ;a\r\nhello\r\n0\r\n\r\n'],
  ['LF after the size', '5\nhello\r\n0\r\n\r\n'],
  ['CR after the size', '5\rhello\r\n0\r\n\r\n'],
  ['LF after the data', '5\r\nhello\n0\r\n\r\n'],
  ['CR after the data', '5\r\nhello\r0\r\n\r\n'],
  ['nothing after the data', '5\r\nhello0\r\n\r\n'],
  ['more data than said', '5\r\nhello!\r\n0\r\n\r\n'],
  ['less data than said', '6\r\nhello\r\n0\r\n\r\n'],
  ['two CR after the data', '5\r\nhello\r\r\n0\r\n\r\n'],
  ['LF at the end', '5\r\nhello\r\n0\r\n\n'],
  ['LF after the last size', '5\r\nhello\r\n0\n\r\n'],
  ['several zeros at the end', '5\r\nhello\r\n000\r\n\r\n'],
  ['a size that overflows 64 bits', '10000000000000005\r\nhello\r\n0\r\n\r\n'],
  ['a size that overflows 32 bits', '100000005\r\nhello\r\n0\r\n\r\n'],
  ['an empty size', '\r\nhello\r\n0\r\n\r\n'],
  ['a letter that is no digit', '5g\r\nhello\r\n0\r\n\r\n'],
  ['a trailer', '5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n'],
  ['a length in a trailer', '5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n'],
  ['a transfer-encoding in a trailer', '5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['a trailer without a colon', '5\r\nhello\r\n0\r\nnothing\r\n\r\n'],
  ['a folded trailer', '5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n'],
  ['a trailer with a bare LF', '5\r\nhello\r\n0\r\nX: 1\n\r\n'],
  ['a trailer with NUL', '5\r\nhello\r\n0\r\nX: \u0000\r\n\r\n'],
  ['a trailer with a space before the colon', '5\r\nhello\r\n0\r\nX : 1\r\n\r\n'],
];

const CHUNK_ATTEMPTS: readonly SmugglingAttempt[] = CHUNKS.map(([name, body]) => ({
  name: `chunks: ${name}`,
  bytes: post(['Transfer-Encoding: chunked'], body),
}));

const LINES: readonly (readonly [string, string])[] = [
  ['two spaces', 'GET  /first-ID HTTP/1.1'],
  ['two spaces before the version', 'GET /first-ID  HTTP/1.1'],
  ['a tab', 'GET\t/first-ID HTTP/1.1'],
  ['a tab before the version', 'GET /first-ID\tHTTP/1.1'],
  ['a space before the method', ' GET /first-ID HTTP/1.1'],
  ['a space after the version', 'GET /first-ID HTTP/1.1 '],
  ['no version', 'GET /first-ID'],
  ['version 0.9', 'GET /first-ID HTTP/0.9'],
  ['version 1.2', 'GET /first-ID HTTP/1.2'],
  ['version 2.0', 'GET /first-ID HTTP/2.0'],
  ['version 11', 'GET /first-ID HTTP/11'],
  ['version 1.10', 'GET /first-ID HTTP/1.10'],
  ['version 01.1', 'GET /first-ID HTTP/01.1'],
  ['a version in small letters', 'GET /first-ID http/1.1'],
  ['another protocol', 'GET /first-ID ICE/1.0'],
  ['a method in small letters', 'get /first-ID HTTP/1.1'],
  ['a method that nobody knows', 'COOK /first-ID HTTP/1.1'],
  ['a method with a bad letter', 'G(T /first-ID HTTP/1.1'],
  ['no method', '/first-ID HTTP/1.1'],
  ['a target with a space', 'GET /first-ID x HTTP/1.1'],
  ['a target with a fragment', 'GET /first-ID#x HTTP/1.1'],
  ['a target without a slash', 'GET first-ID HTTP/1.1'],
  ['a target with NUL', 'GET /first-ID\u0000 HTTP/1.1'],
  ['a target with DEL', 'GET /first-ID\u007f HTTP/1.1'],
  ['a target with a high byte', 'GET /first-ID\u00ff HTTP/1.1'],
  ['a target with CR', 'GET /first-ID\rx HTTP/1.1'],
  ['a target with a tab', 'GET /first-ID\tx HTTP/1.1'],
  ['a target with a backslash', 'GET \\first-ID HTTP/1.1'],
  ['a target with user information', 'GET http://user@a.example/first-ID HTTP/1.1'],
  ['an absolute target', 'GET http://a.example/first-ID HTTP/1.1'],
  ['an absolute target of another scheme', 'GET ftp://a.example/first-ID HTTP/1.1'],
  ['an absolute target without a host', 'GET http:///first-ID HTTP/1.1'],
  ['an asterisk', 'GET * HTTP/1.1'],
  ['an authority', 'GET a.example:80 HTTP/1.1'],
  ['CONNECT with a path', 'CONNECT /first-ID HTTP/1.1'],
  ['CONNECT with an authority', 'CONNECT a.example:80 HTTP/1.1'],
];

const LINE_ATTEMPTS: readonly SmugglingAttempt[] = LINES.flatMap(([name, line]) => [
  { name: `request line: ${name}`, bytes: raw(`${line}\r\nHost: a.example\r\n\r\n`) },
  { name: `request line ended by LF: ${name}`, bytes: raw(`${line}\nHost: a.example\r\n\r\n`) },
]);

const HEADS: readonly (readonly [string, readonly string[]])[] = [
  ['no host', []],
  ['two hosts', ['Host: a.example', 'Host: a.example']],
  ['two hosts that differ', ['Host: a.example', 'Host: b.example']],
  ['an empty host', ['Host:']],
  ['a host with a path', ['Host: a.example/x']],
  ['a host with user information', ['Host: x@a.example']],
  ['a host with a space', ['Host: a.example x']],
  ['a host with a comma', ['Host: a.example, b.example']],
  ['a host with a control', ['Host: a.exa\u0001mple']],
  ['a host with a high byte', ['Host: a.exa\u00e9mple']],
  ['a folded host', ['Host:', ' a.example']],
  ['a folded field', ['Host: a.example', 'X: 1', ' 2']],
  ['a folded field with a tab', ['Host: a.example', 'X: 1', '\t2']],
  ['a fold first', [' X: 1', 'Host: a.example']],
  ['a field without a colon', ['Host: a.example', 'nothing']],
  ['a field without a name', ['Host: a.example', ': 1']],
  ['a space in a name', ['Host: a.example', 'X Y: 1']],
  ['a pseudo-header', ['Host: a.example', ':path: /other']],
  ['an underscore for a dash', ['Host: a.example', 'Content_Length: 45']],
  ['expect', ['Host: a.example', 'Expect: 100-continue']],
  ['expect of something', ['Host: a.example', 'Expect: miracles']],
  ['upgrade to h2c', ['Host: a.example', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__']],
  ['upgrade to websocket', ['Host: a.example', 'Connection: Upgrade', 'Upgrade: websocket']],
  ['connection nominates host', ['Host: a.example', 'Connection: host']],
  ['connection nominates x-forwarded-for', ['Host: a.example', 'Connection: close, x-forwarded-for', 'X-Forwarded-For: 1.2.3.4']],
  ['a name of a thousand letters', ['Host: a.example', `${'x'.repeat(1000)}: 1`]],
  ['an empty value', ['Host: a.example', 'X:']],
  ['CR within a value', ['Host: a.example', 'X: 1\rContent-Length: 45']],
  ['LF within a value', ['Host: a.example', 'X: 1\nContent-Length: 45']],
  ['LF CR within a value', ['Host: a.example', 'X: 1\n\rContent-Length: 45']],
];

const HEAD_ATTEMPTS: readonly SmugglingAttempt[] = HEADS.flatMap(([name, headers]) => [
  { name: `head: ${name}`, bytes: raw(['GET /first-ID HTTP/1.1', ...headers, '', ''].join('\r\n')) },
  { name: `head with lines ended by LF: ${name}`, bytes: raw(['GET /first-ID HTTP/1.1', ...headers, '', ''].join('\n')) },
  { name: `head with a last line ended by LF: ${name}`, bytes: raw(`${['GET /first-ID HTTP/1.1', ...headers].join('\r\n')}\r\n\n`) },
]);

const BYTES = Array.from({ length: 256 }, (_, byte) => byte);

const LETTER_ATTEMPTS: readonly SmugglingAttempt[] = BYTES.flatMap((byte) => {
  const letter = String.fromCharCode(byte);
  return [
    { name: `${nameOf(byte)} in a name`, bytes: raw(`GET /first-ID HTTP/1.1\r\nHost: a.example\r\nX${letter}Y: 1\r\n\r\n`) },
    { name: `${nameOf(byte)} in a value`, bytes: raw(`GET /first-ID HTTP/1.1\r\nHost: a.example\r\nX: 1${letter}2\r\n\r\n`) },
    { name: `${nameOf(byte)} before the request`, bytes: `${letter}${raw('GET /first-ID HTTP/1.1\r\nHost: a.example\r\n\r\n')}` },
    { name: `${nameOf(byte)} between requests`, bytes: `GET /first-ID HTTP/1.1\r\nHost: a.example\r\n\r\n${letter}${SECOND}` },
  ];
});

/** Some 1,900 of them. */
export const SMUGGLING_ATTEMPTS: readonly SmugglingAttempt[] = [
  ...fieldMutations('Transfer-Encoding', 'chunked'),
  ...fieldMutations('Content-Length', '5'),
  ...ENCODING_ATTEMPTS,
  ...LENGTH_ATTEMPTS,
  ...CHUNK_ATTEMPTS,
  ...LINE_ATTEMPTS,
  ...HEAD_ATTEMPTS,
  ...LETTER_ATTEMPTS,
];
