import { describe, expect, it } from '@jest/globals';
import { compileAccessLogFormat, ISTIO_TEXT_FORMAT } from './access-log-format.ts';
import type { StreamInfo } from './stream-info.ts';
import { aStream } from './testing/stream-info.ts';

const CERTIFICATE = {
  subject: 'CN=a',
  issuer: 'CN=b',
  serial: '0a',
  sha256: 'ff',
  sha1: 'ee',
  uriSans: [],
  dnsSans: [],
  ipSans: [],
  emailSans: [],
  validFromMs: 0,
  validToMs: Date.UTC(2030, 0, 1),
  pem: '',
};

describe('access log format', () => {
  it("prints Istio's default line", () => {
    expect(compileAccessLogFormat(ISTIO_TEXT_FORMAT)(aStream())).toBe(
      '[2026-01-02T03:04:05.678Z] "GET /reviews/1?a=b HTTP/1.1" 200 - via_upstream - "-" 0 295 8 5 "10.0.0.1" "curl/8" "id-1" "reviews:9080" ' +
        '"10.0.0.2:9080" outbound|9080|v1|reviews.default.svc.cluster.local 10.0.0.1:40000 10.0.0.9:9080 10.0.0.1:50000 - default\n',
    );
  });

  const cases: readonly (readonly [format: string, expected: string, overrides?: Partial<StreamInfo>])[] = [
    ['%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%', '/before', { originalPath: '/before', path: '/after' }],
    ['%REQ(USER-AGENT):4%', 'curl'],
    ['%REQ_WITHOUT_QUERY(:PATH)%', '/reviews/1'],
    ['%RESP(X-A?X-B)%', 'b', { responseHeader: (name) => (name === 'x-b' ? 'b' : undefined) }],
    ['%TRAILER(GRPC-STATUS)%', '0', { responseTrailer: () => '0' }],
    ['%START_TIME(%Y/%m/%dT%H:%M:%S.%3f%z)%', '2026/01/02T03:04:05.678+0000'],
    [
      '%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%',
      'UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded',
      { flags: ['upstreamConnectionFailure', 'upstreamRetryLimitExceeded'] },
    ],
    ['%DOWNSTREAM_PEER_URI_SAN% %UPSTREAM_PEER_URI_SAN%', '- spiffe://cluster.local/ns/default/sa/reviews'],
    ['%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%', '10.0.0.1 9080'],
    ['%RESPONSE_DURATION% %REQUEST_DURATION% %RESPONSE_TX_DURATION%', '6 1 2'],
    ['%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)% %COMMON_DURATION(US_RX_BEG:DS_TX_END)%', '6000 2'],
    ['%START_TIME(%a %d %b %Y %H:%M:%E3S %Z)%', 'Fri 02 Jan 2026 03:04:05.678 UTC'],
    ['%PATH(NQ:ORIG)% %PATH(WQ:PATH)%', '/before /after?y', { originalPath: '/before?x', path: '/after?y' }],
    ['%QUERY_PARAM(b)% %QUERY_PARAMS%', '2 a=1&b=2', { path: '/p?a=1&b=2' }],
    ['%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%', 'DeadlineExceeded DEADLINE_EXCEEDED 4', { grpcStatus: '4' }],
    ['%GRPC_STATUS%', '-'],
    [
      '%DYNAMIC_METADATA(jwt:claims:sub)% %METADATA(DYNAMIC:jwt:claims)% %DYNAMIC_METADATA(jwt:none)%',
      'anna {"sub":"anna"} -',
      { dynamicMetadata: new Map([['jwt', { claims: { sub: 'anna' } }]]) },
    ],
    [
      '%METADATA(CLUSTER:a:b)%',
      'c',
      { configuredMetadata: (source, namespace) => (source === 'cluster' ? { b: 'c', namespace } : undefined) },
    ],
    ['%DYNAMIC_METADATA(a)%', '{"k":"\\u0085\\n"}', { dynamicMetadata: new Map([['a', { k: '\u0085\n' }]]) }],
    ['%FILTER_STATE(k)% %FILTER_STATE(l:PLAIN)%', 'v -', { filterStateObject: (key) => (key === 'k' ? 'v' : undefined) }],
    ['%CONNECTION_ID% %ACCESS_LOG_TYPE% %CUSTOM_FLAGS%', '7 DownstreamEnd -', { connectionId: 7 }],
    ['%ACCESS_LOG_TYPE%', 'TcpConnectionEnd', { protocol: '' }],
    ['%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%', '10.9.9.9:1 50000', { downstreamDirectRemoteAddress: '10.9.9.9:1' }],
    ['%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_SUBJECT%', '- -'],
    [
      '%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_CERT_V_END(%Y-%m-%d)%',
      'TLSv1.3 TLS_AES_128_GCM_SHA256 0a 2030-01-01',
      {
        downstreamTls: () => ({ version: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256', sessionId: '', peer: CERTIFICATE, local: undefined }),
      },
    ],
  ];
  it.each(cases.map(([format, expected, overrides = {}]) => [format, expected, overrides] as const))(
    'prints %s as %s',
    (format, expected, overrides) => {
      expect(compileAccessLogFormat(format)(aStream(overrides))).toBe(expected);
    },
  );

  it('prints percent signs that are written twice', () => {
    expect(compileAccessLogFormat('100%% %PROTOCOL%')(aStream())).toBe('100% HTTP/1.1');
  });

  it('lets no value forge a line or a field', () => {
    const line = compileAccessLogFormat('"%REQ(USER-AGENT)%" %PROTOCOL%\n')(aStream({ requestHeader: () => 'x" 200\n[fake]\u001b[31m\\' }));
    expect(line).toBe('"x\\" 200\\x0a[fake]\\x1b[31m\\\\" HTTP/1.1\n');
  });

  it.each([
    ['a %NOPE% b', 'unknown operator %NOPE% at position 2'],
    ['%REQ%', '%REQ%: needs the name of a header at position 0'],
    ['%PROTOCOL', 'an operator is not closed: write %NAME%, or %% for a percent sign at position 0'],
    ['%PROTOCOL(x)%', '%PROTOCOL% takes no argument at position 0'],
    ['%START_TIME(%Q)%', '%START_TIME%: time format %Q is not supported at position 0'],
    ['%FILTER_STATE(x:FIELD:y)%', '%FILTER_STATE%: FIELD is not supported by this proxy, whose objects are texts; use PLAIN at position 0'],
    ['%METADATA(FILTER_CHAIN:a:b)%', '%METADATA%: FILTER_CHAIN metadata is not kept by this proxy; use DYNAMIC or one of ROUTE'],
    ['%TLS_JA3_FINGERPRINT%', '%TLS_JA3_FINGERPRINT% is not supported by this proxy; remove it at position 0'],
    ['%COMMON_DURATION(NOW:DS_TX_END)%', '%COMMON_DURATION%: NOW is not a point that this proxy knows'],
    ['%GRPC_STATUS(LOUD)%', '%GRPC_STATUS%: takes CAMEL_STRING, SNAKE_STRING or NUMBER at position 0'],
  ])('refuses %s', (format, message) => {
    expect(() => compileAccessLogFormat(format)).toThrow(message);
  });

  it('gives JSON with types kept, null for what is missing, and nesting', () => {
    const format = {
      code: '%RESPONSE_CODE%',
      text: 'code %RESPONSE_CODE%',
      sni: '%REQUESTED_SERVER_NAME%',
      nested: { path: '%REQ(:PATH)%' },
      fixed: 7,
    };
    expect(JSON.parse(compileAccessLogFormat(format)(aStream()))).toEqual({
      code: 200,
      text: 'code 200',
      sni: null,
      nested: { path: '/reviews/1?a=b' },
      fixed: 7,
    });
  });

  it('leaves out what is empty where it is told to, and sorts keys where it is told to', () => {
    const format = {
      z: '%RESPONSE_CODE%',
      sni: '%REQUESTED_SERVER_NAME%',
      inner: { sni: '%REQUESTED_SERVER_NAME%' },
      a: 'x%REQUESTED_SERVER_NAME%',
    };
    const line = compileAccessLogFormat(format, { omitsEmptyValues: true, sortsKeys: true })(aStream());
    expect(line).toBe('{"a":"x","z":200}\n');
    expect(compileAccessLogFormat('[%REQUESTED_SERVER_NAME%]', { omitsEmptyValues: true })(aStream())).toBe('[]');
  });

  it('keeps metadata as it is in JSON', () => {
    const info = aStream({ dynamicMetadata: new Map([['n', { list: [1, 2], flag: true }]]) });
    const line = compileAccessLogFormat({ all: '%DYNAMIC_METADATA(n)%', flag: '%DYNAMIC_METADATA(n:flag)%' })(info);
    expect(JSON.parse(line)).toEqual({ all: { list: [1, 2], flag: true }, flag: true });
  });
});
