import { describe, expect, it } from '@jest/globals';
import { formatPath } from '@mizzen/core';
import { parse as parseYamlValue } from 'yaml';
import { type Kind, preferredApiVersion, type SpecOf } from '../kinds.ts';
import { parseResource } from '../parse-resource.ts';

/** Paths and messages of what is wrong with a spec given as YAML. */
function problems(kind: Kind, yaml: string): string[] {
  const value = { apiVersion: preferredApiVersion(kind), kind, metadata: { name: 'a' }, spec: parseYamlValue(yaml) as SpecOf<Kind> };
  return parseResource({ value, file: 'x.yaml', line: 1, lineOf: () => 1 }).diagnostics.map(
    ({ path, message }) => `${formatPath(path ?? [])}: ${message}`,
  );
}

const route = 'route: [{destination: {host: a}}]';
const http = (rule: string): string => `{hosts: [a], http: [{${rule}}]}`;
const tlsPolicy = (tls: string): string => `{host: a, trafficPolicy: {tls: {${tls}}}}`;
const balancer = (settings: string): string => `{host: a, trafficPolicy: {loadBalancer: {${settings}}}}`;
const server = (port: string, rest: string): string =>
  `{servers: [{port: {number: 443, name: p, protocol: ${port}}, hosts: ['*'], ${rest}}]}`;
const rateLimit = (rest: string): string => `{rules: [{name: a, limit: {requests: 1}, ${rest}}]}`;
const entry = (rest: string): string => `{hosts: [a.example.com], ports: [{number: 443, name: tls, protocol: TLS}], ${rest}}`;

const VALID: readonly [Kind, string][] = [
  ['VirtualService', http(route)],
  ['VirtualService', http('redirect: {uri: /x, redirectCode: 302}')],
  ['VirtualService', http('directResponse: {status: 503, body: {string: no}}')],
  ['VirtualService', http('delegate: {name: b, namespace: c}')],
  ['VirtualService', http(`fault: {delay: {fixedDelay: 7s, percentage: {value: 0.1}}}, ${route}`)],
  ['VirtualService', http(`fault: {abort: {grpcStatus: UNAVAILABLE}}, ${route}`)],
  ['VirtualService', http(`retries: {attempts: 3, retryOn: '5xx,reset,503', perTryTimeout: 2s}, ${route}`)],
  ['VirtualService', http('route: [{destination: {host: a, subset: v1}, weight: 50}, {destination: {host: a, subset: v3}, weight: 50}]')],
  ['VirtualService', `{http: [{${route}}]}`],
  ['VirtualService', http(`headers: {request: {set: {Host: x, x-a: b}, remove: [x-c]}}, ${route}`)],
  ['ServiceEntry', '{hosts: ["*x.example.com"]}'],
  ['VirtualService', `{hosts: ['*'], gateways: [bookinfo-gateway, ns/other], http: [{${route}}]}`],
  ['VirtualService', `{hosts: ['*.example.com'], tls: [{match: [{sniHosts: [www.example.com], port: 443}], ${route}}]}`],
  ['VirtualService', `{hosts: [10.0.0.1], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], ${route}}]}`],
  ['DestinationRule', '{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}'],
  ['DestinationRule', tlsPolicy('mode: ISTIO_MUTUAL')],
  ['DestinationRule', tlsPolicy('mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /a')],
  ['DestinationRule', tlsPolicy('mode: MUTUAL, credentialName: x')],
  ['DestinationRule', balancer('consistentHash: {httpCookie: {name: user, ttl: 0s}}')],
  ['DestinationRule', '{host: a, exportTo: [., other]}'],
  ['Gateway', server('HTTPS', 'tls: {mode: SIMPLE, credentialName: x}')],
  ['Gateway', server('HTTPS', 'tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}')],
  ['Gateway', server('HTTP', 'tls: {httpsRedirect: true}')],
  ['Gateway', server('TLS', 'tls: {mode: PASSTHROUGH}')],
  ['Gateway', '{servers: [{port: {number: 80, name: http, protocol: http2}, hosts: [ns/a.example.com, ./*, "*/b"], bind: 127.0.0.1}]}'],
  ['ServiceEntry', entry('resolution: DNS, location: MESH_EXTERNAL')],
  ['ServiceEntry', entry('resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {tls: 8443}}]')],
  ['ServiceEntry', entry('resolution: STATIC, endpoints: [{address: "unix:///run/a.sock"}]')],
  ['ServiceEntry', entry('resolution: STATIC, workloadSelector: {labels: {app: a}}')],
  ['ServiceEntry', '{hosts: ["*.example.com"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}'],
  ['WorkloadEntry', '{network: n1}'],
  ['WorkloadGroup', '{template: {serviceAccount: a}, probe: {httpGet: {port: 80, path: /health}}}'],
  ['PeerAuthentication', '{mtls: {mode: STRICT}}'],
  ['PeerAuthentication', '{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}}}'],
  [
    'Sidecar',
    '{ingress: [{port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080"}], egress: [{hosts: ["./*", "~prod/*", "istio-system/*"]}]}',
  ],
  [
    'Sidecar',
    '{egress: [{port: {number: 3306, protocol: TCP, name: db}, bind: 127.0.0.1, captureMode: NONE, hosts: [./db]}, {hosts: ["*/*"]}]}',
  ],
  ['RateLimit', '{rules: [{name: a, limit: {requests: 1}}]}'],
  [
    'RateLimit',
    '{rules: [{name: a, match: {path: {}, methods: [GET], headers: {x-a: {}}, principals: ["*/sa/b", "a/*", "*"]}, limit: {requests: 1, unit: DAY}}]}',
  ],
  ['RateLimit', '{rules: [{name: a, scope: GLOBAL, by: [{header: x-a}, {attribute: CALLER}], denyOnFailure: true, limit: {requests: 1}}]}'],
];

const INVALID: readonly [Kind, string, RegExp][] = [
  ['VirtualService', '{hosts: [a]}', /^spec: at least one of http, tls and tcp/],
  ['VirtualService', `{hosts: ['*'], http: [{${route}}]}`, /^spec\.hosts\[0\]: the host "\*" is not allowed for sidecars/],
  ['VirtualService', `{hosts: ['a.*.b'], http: [{${route}}]}`, /^spec\.hosts\[0\]: .*neither a host name/],
  ['VirtualService', `{hosts: [a, a], http: [{${route}}]}`, /^spec\.hosts\[1\]: "a" overlaps/],
  [
    'VirtualService',
    `{hosts: ['*.a.com', b.a.com], gateways: [g], http: [{${route}}]}`,
    /^spec\.hosts\[1\]: .*overlaps with the host "\*\.a\.com"/,
  ],
  ['VirtualService', `{gateways: [g], http: [{${route}}]}`, /^spec\.gateways: a VirtualService without hosts is a delegate/],
  ['VirtualService', `{http: [{delegate: {name: x}}]}`, /delegate: a delegate .* cannot delegate further/],
  ['VirtualService', `{hosts: [a], gateways: [a/b/c], http: [{${route}}]}`, /^spec\.gateways\[0\]: "a\/b\/c" is not a gateway/],
  ['VirtualService', http('timeout: 1s'), /^spec\.http\[0\]: a rule needs one of/],
  ['VirtualService', http(`redirect: {uri: /}, ${route}`), /^spec\.http\[0\]\.redirect: redirect and route exclude each other/],
  ['VirtualService', http('redirect: {uri: /}, directResponse: {status: 200}'), /redirect and directResponse exclude each other/],
  ['VirtualService', http('redirect: {uri: /}, fault: {abort: {httpStatus: 500}}'), /fault: fault cannot be combined with redirect/],
  ['VirtualService', http('redirect: {}'), /redirect: a redirect must change/],
  ['VirtualService', http('redirect: {uri: /, prefixRewrite: /}'), /uri and prefixRewrite exclude/],
  ['VirtualService', http('redirect: {uri: /, redirectCode: 200}'), /redirectCode: must be one of 0, 301, 302/],
  ['VirtualService', http(`rewrite: {}, ${route}`), /rewrite: a rewrite must change/],
  ['VirtualService', http(`rewrite: {uri: /a, uriRegexRewrite: {match: a, rewrite: b}}, ${route}`), /uri and uriRegexRewrite exclude/],
  ['VirtualService', http(`fault: {}, ${route}`), /fault: a fault needs a delay or an abort/],
  ['VirtualService', http(`fault: {delay: {percentage: {value: 10}}}, ${route}`), /fixedDelay: how long to delay is required/],
  [
    'VirtualService',
    http(`fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}, ${route}`),
    /percentage\.value: must be at most 100, but is the number 101/,
  ],
  ['VirtualService', http(`fault: {abort: {httpStatus: 1000}}, ${route}`), /httpStatus: must be at most 599/],
  ['VirtualService', http(`fault: {abort: {httpStatus: 500, grpcStatus: OK}}, ${route}`), /httpStatus and grpcStatus exclude/],
  ['VirtualService', http(`fault: {abort: {grpcStatus: BAD}}, ${route}`), /"BAD" is not a gRPC status/],
  ['VirtualService', http(`retries: {attempts: 0, perTryTimeout: 1s}, ${route}`), /perTryTimeout: needs attempts of at least 1/],
  ['VirtualService', http(`retries: {perTryTimeout: 1s}, ${route}`), /perTryTimeout: needs attempts/],
  ['VirtualService', http(`match: [{headers: {'@request.auth.claims.a': {exact: b}}}], ${route}`), /works on gateways only/],
  ['VirtualService', http(`headers: {response: {set: {Host: x}}}, ${route}`), /"Host" cannot be changed here/],
  [
    'VirtualService',
    http(`rewrite: {authority: b}, headers: {request: {set: {Host: x}}}, ${route}`),
    /authority is set by headers\.request too/,
  ],
  ['VirtualService', http(`retries: {attempts: 1, retryOn: 'often'}, ${route}`), /retryOn: "often" is neither/],
  ['VirtualService', http(`match: [{uri: {exact: /, prefix: /}}], ${route}`), /match\[0\]\.uri\.prefix: exact and prefix exclude/],
  ['VirtualService', http('route: [{destination: {host: a}}, {destination: {host: b}, weight: 0}]'), /route: the weights add up to 0/],
  ['VirtualService', http('route: [{destination: {host: a}, weight: -1}]'), /weight: must be at least 0/],
  ['VirtualService', http('route: [{destination: {host: a, port: {number: 0}}}]'), /port: a port needs its number/],
  ['VirtualService', http('route: [{destination: {host: "*"}}]'), /host: "\*" is not the name of a service/],
  ['VirtualService', http(`mirror: {host: a}, mirrors: [{destination: {host: b}}], ${route}`), /mirror and mirrors exclude/],
  [
    'VirtualService',
    http(`headers: {request: {set: {'bad name': x}}}, ${route}`),
    /headers\.request\.set\.bad name: .*not the name of a header/,
  ],
  [
    'VirtualService',
    `{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], ${route}}]}`,
    /sniHosts\[0\]: the SNI host "b\.com" is not within/,
  ],
  ['VirtualService', `{hosts: [a.com], tls: [{match: [{sniHosts: [a.com]}]}]}`, /tls\[0\]\.route: a route needs at least one destination/],
  [
    'VirtualService',
    `{hosts: [a.com], tcp: [{match: [{destinationSubnets: [10.0.0.0/99]}], ${route}}]}`,
    /"10\.0\.0\.0\/99" is not a subnet/,
  ],
  ['VirtualService', `{hosts: [a], exportTo: ['*', b], http: [{${route}}]}`, /exportTo\[0\]: "\*" must stand alone/],
  ['DestinationRule', '{}', /^spec\.host: "host" is required/],
  ['DestinationRule', '{host: a, subsets: [{name: v1}, {name: v1}]}', /subsets\[1\]\.name: .*defined twice/],
  ['DestinationRule', '{host: a, trafficPolicy: {}}', /trafficPolicy: a traffic policy needs at least one field/],
  ['DestinationRule', tlsPolicy('mode: MUTUAL, clientCertificate: /c'), /privateKey: mode MUTUAL needs/],
  ['DestinationRule', tlsPolicy('mode: ISTIO_MUTUAL, caCertificates: /a'), /caCertificates: must not be set in mode ISTIO_MUTUAL/],
  ['DestinationRule', tlsPolicy('mode: SIMPLE, credentialName: x, caCertificates: /a'), /excludes credentialName/],
  ['DestinationRule', tlsPolicy('mode: SIMPEL'), /mode: must be one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL, .*did you mean SIMPLE\?/],
  ['DestinationRule', balancer('simple: RANDOM, consistentHash: {useSourceIp: true}'), /simple and consistentHash exclude/],
  ['DestinationRule', balancer('consistentHash: {}'), /what to hash is required/],
  ['DestinationRule', balancer('localityLbSetting: {distribute: [{from: a, to: {b: 60}}]}'), /weights add up to 60/],
  [
    'DestinationRule',
    '{host: a, trafficPolicy: {portLevelSettings: [{tls: {mode: SIMPLE}}]}}',
    /portLevelSettings\[0\]\.port\.number: .*required/,
  ],
  ['Gateway', '{}', /servers: a Gateway needs at least one server/],
  ['Gateway', server('HTTPS', ''), /tls: a server of protocol HTTPS needs tls settings/],
  [
    'Gateway',
    server('HTTPS', 'tls: {mode: SIMPLE}'),
    /serverCertificate: mode SIMPLE needs credentialName, or serverCertificate and privateKey/,
  ],
  ['Gateway', server('HTTPS', 'tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k}'), /caCertificates: mode MUTUAL needs/],
  ['Gateway', server('HTTPS', 'tls: {mode: ISTIO_MUTUAL, credentialName: x}'), /credentialName: must not be set in mode ISTIO_MUTUAL/],
  [
    'Gateway',
    server('HTTPS', 'tls: {mode: SIMPLE, credentialName: x, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}'),
    /above maxProtocolVersion/,
  ],
  ['Gateway', server('HTTP', 'tls: {mode: SIMPLE, credentialName: x}'), /takes no TLS settings except httpsRedirect/],
  ['Gateway', server('SMTP', ''), /protocol: "SMTP" is not a protocol/],
  ['Gateway', '{servers: [{port: {number: 70000, name: p, protocol: HTTP}, hosts: ["*"]}]}', /number: must be at most 65535/],
  ['Gateway', '{servers: [{port: {number: 80, name: p, protocol: HTTP}, hosts: ["a b"]}]}', /hosts\[0\]: "a b" is not a host/],
  ['ServiceEntry', '{hosts: ["*"]}', /hosts\[0\]: the host "\*" is not allowed/],
  ['ServiceEntry', '{hosts: []}', /hosts: must have at least one item/],
  ['ServiceEntry', '{hosts: ["*.a.com"], resolution: DNS}', /cannot resolve the wildcard/],
  ['ServiceEntry', entry('endpoints: [{address: 10.0.0.1}]'), /endpoints: resolution NONE takes no endpoints/],
  ['ServiceEntry', entry('resolution: STATIC, endpoints: [{address: a.com}]'), /resolution STATIC needs an address, not "a\.com"/],
  ['ServiceEntry', entry('resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 80}}]'), /no port named "http"/],
  ['ServiceEntry', entry('resolution: DNS_ROUND_ROBIN, endpoints: [{address: a}, {address: b}]'), /at most one endpoint/],
  [
    'ServiceEntry',
    entry('resolution: STATIC, endpoints: [{address: 10.0.0.1}], workloadSelector: {labels: {a: b}}'),
    /endpoints and workloadSelector exclude/,
  ],
  ['ServiceEntry', entry('resolution: DNS, addresses: [10.0.0.0/8]'), /a subnet needs resolution NONE or STATIC/],
  ['ServiceEntry', '{hosts: [a], ports: [{number: 1, name: a}, {number: 1, name: a}]}', /ports\[1\]\.number: port 1 is given twice/],
  ['WorkloadEntry', '{}', /^spec\.address: an address is required/],
  ['WorkloadEntry', '{address: "unix://relative"}', /is not a Unix socket/],
  ['WorkloadEntry', '{address: 10.0.0.1, ports: {http: 0}}', /ports\.http: must be at least 1/],
  ['WorkloadGroup', '{}', /template: "template" is required/],
  ['WorkloadGroup', '{template: {}, probe: {httpGet: {port: 1}, tcpSocket: {port: 1}}}', /httpGet and tcpSocket exclude/],
  ['PeerAuthentication', '{portLevelMtls: {80: {mode: STRICT}}}', /portLevelMtls: needs a selector/],
  [
    'PeerAuthentication',
    '{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}',
    /portLevelMtls\.http: "http" is not a port/,
  ],
  ['PeerAuthentication', '{selector: {matchLabels: {a: "*"}}}', /matchLabels\.a: must match/],
  ['Sidecar', '{}', /a Sidecar needs at least one of/],
  ['Sidecar', '{egress: [{hosts: [reviews]}]}', /hosts\[0\]: "reviews" is not namespace\/host/],
  [
    'Sidecar',
    '{egress: [{hosts: ["./*"]}, {port: {number: 80}, hosts: ["./*"]}]}',
    /egress\[0\]: an egress listener without a port must be the last/,
  ],
  ['Sidecar', '{ingress: [{defaultEndpoint: "127.0.0.1:80"}]}', /ingress\[0\]\.port\.number: the port is required/],
  ['Sidecar', '{ingress: [{port: {number: 80}, defaultEndpoint: "10.0.0.1:80"}]}', /defaultEndpoint: "10\.0\.0\.1:80" is not/],
  [
    'Sidecar',
    '{ingress: [{port: {number: 443, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: a}}]}',
    /tls\.credentialName: is not supported/,
  ],
  ['AuthorizationPolicy', '{action: CUSTOM}', /provider: action CUSTOM needs/],
  ['RequestAuthentication', '{jwtRules: [{issuer: a, jwks: "{}", jwksUri: "https://a"}]}', /jwksUri and jwks exclude/],
  ['Telemetry', '{selector: {}, targetRefs: []}', /selector and targetRefs exclude/],
  ['TrafficExtension', '{}', /exactly one of wasm and lua/],
  ['WasmPlugin', '{}', /url: "url" is required/],
  ['RateLimit', '{}', /rules: "rules" is required/],
  ['RateLimit', '{rules: [{name: a, limit: {requests: 0}}]}', /limit\.requests: .*1/],
  ['RateLimit', '{rules: [{name: A b, limit: {requests: 1}}]}', /rules\[0\]\.name: "A b" is not a name/],
  [
    'RateLimit',
    '{rules: [{name: a, limit: {requests: 1}}, {name: a, limit: {requests: 2}}]}',
    /rules\[1\]\.name: "a" is the name of an earlier/,
  ],
  ['RateLimit', rateLimit('match: {routes: []}'), /match\.routes: an empty list matches nothing/],
  ['RateLimit', rateLimit('match: {path: {exact: /a, prefix: /b}}'), /match\.path\.prefix: exact and prefix exclude/],
  ['RateLimit', rateLimit('match: {headers: {":path": {exact: a}}}'), /headers\.:path: ":path" is not the name of a header/],
  ['RateLimit', rateLimit('match: {headers: {a: {prefix: a, regex: b}}}'), /headers\.a\.regex: prefix and regex exclude/],
  ['RateLimit', rateLimit('match: {principals: ["a/*/b"]}'), /principals\[0\]: .* has a "\*" inside/],
  ['RateLimit', rateLimit('by: [{header: a}]'), /by: is for scope GLOBAL/],
  ['RateLimit', rateLimit('denyOnFailure: true'), /denyOnFailure: is for scope GLOBAL/],
  ['RateLimit', rateLimit('scope: GLOBAL, by: [{}]'), /by\[0\]: needs header or attribute/],
  ['RateLimit', rateLimit('scope: GLOBAL, by: [{header: a, attribute: PATH}]'), /by\[0\]\.attribute: header and attribute exclude/],
  ['RateLimit', rateLimit('scope: GLOBAL, by: [{header: a}, {header: A}]'), /by\[1\]: a is given twice/],
  ['RateLimit', rateLimit('scope: GLOBAL, by: [{header: "a b"}]'), /by\[0\]\.header: "a b" is not the name of a header/],
];

describe('validateSpec', () => {
  it.each(VALID)('accepts %s %s', (kind, yaml) => {
    expect(problems(kind, yaml)).toEqual([]);
  });

  it.each(INVALID)('refuses %s %s', (kind, yaml, expected) => {
    const found = problems(kind, yaml);
    expect(found.some((line) => expected.test(line)) ? 'found' : found).toBe('found');
  });

  it('warns of what has no effect and keeps the resource in force', () => {
    const found = problems('VirtualService', `{hosts: [a], http: [{match: [{gateways: [g], sourceLabels: {a: b}}], ${route}}]}`);
    expect(found).toEqual(['spec.http[0].match[0].sourceLabels: has no effect in a match that names gateways']);
  });
});
