import type { Kind } from '@mizzen/mesh-api';

const DESTINATION_POLICY = (prefix: string): string[] =>
  [
    'loadBalancer.simple',
    'loadBalancer.consistentHash',
    'connectionPool.tcp.maxConnections',
    'connectionPool.tcp.connectTimeout',
    'connectionPool.tcp.maxConnectionDuration',
    'connectionPool.tcp.idleTimeout',
    'connectionPool.tcp.tcpKeepalive',
    'connectionPool.http.http1MaxPendingRequests',
    'connectionPool.http.http2MaxRequests',
    'connectionPool.http.maxRequestsPerConnection',
    'connectionPool.http.maxRetries',
    'connectionPool.http.idleTimeout',
    'connectionPool.http.h2UpgradePolicy',
    'connectionPool.http.useClientProtocol',
    'connectionPool.http.maxConcurrentStreams',
    'outlierDetection.consecutiveErrors',
    'outlierDetection.consecutive5xxErrors',
    'outlierDetection.consecutiveGatewayErrors',
    'outlierDetection.consecutiveLocalOriginFailures',
    'outlierDetection.splitExternalLocalOriginErrors',
    'outlierDetection.interval',
    'outlierDetection.baseEjectionTime',
    'outlierDetection.maxEjectionPercent',
    'outlierDetection.minHealthPercent',
    'tls.mode',
    'tls.clientCertificate',
    'tls.privateKey',
    'tls.caCertificates',
    'tls.caCrl',
    'tls.credentialName',
    'tls.subjectAltNames',
    'tls.sni',
    'tls.insecureSkipVerify',
  ].map((path) => `${prefix}.${path}`);

const TRAFFIC_POLICY = (prefix: string): string[] => [
  ...DESTINATION_POLICY(prefix),
  `${prefix}.portLevelSettings[].port.number`,
  ...DESTINATION_POLICY(`${prefix}.portLevelSettings[]`),
];

const L4_MATCH = (prefix: string): string[] =>
  ['destinationSubnets', 'port', 'sourceLabels', 'sourceNamespace', 'gateways'].map((field) => `${prefix}.match[].${field}`);

const HTTP = [
  'name',
  'match',
  'route',
  'redirect',
  'directResponse',
  'delegate',
  'rewrite',
  'timeout',
  'retries.attempts',
  'retries.perTryTimeout',
  'retries.retryOn',
  'retries.retryIgnorePreviousHosts',
  'retries.backoff',
  'fault.delay.percent',
  'fault.delay.percentage',
  'fault.delay.fixedDelay',
  'fault.abort.httpStatus',
  'fault.abort.grpcStatus',
  'fault.abort.percentage',
  'mirror',
  'mirrors',
  'mirrorPercent',
  'mirror_percent',
  'mirrorPercentage',
  'corsPolicy',
  'headers',
].map((field) => `spec.http[].${field}`);

const GATEWAY_TLS = [
  'httpsRedirect',
  'mode',
  'serverCertificate',
  'privateKey',
  'caCertificates',
  'caCrl',
  'credentialName',
  'credentialNames',
  'caCertCredentialName',
  'tlsCertificates',
  'subjectAltNames',
  'verifyCertificateSpki',
  'verifyCertificateHash',
  'minProtocolVersion',
  'maxProtocolVersion',
  'cipherSuites',
  'ecdhCurves',
].map((field) => `spec.servers[].tls.${field}`);

const WORKLOAD = (prefix: string): string[] =>
  ['address', 'ports', 'labels', 'locality', 'weight', 'serviceAccount'].map((field) => `${prefix}.${field}`);

/** The fields of each kind that have an effect. Whatever else a resource says is named in a diagnostic. */
export const SUPPORTED_FIELDS: Partial<Readonly<Record<Kind, readonly string[]>>> = {
  VirtualService: [
    'spec.hosts',
    'spec.gateways',
    'spec.exportTo',
    ...HTTP,
    ...L4_MATCH('spec.tcp[]'),
    'spec.tcp[].route',
    'spec.tls[].match[].sniHosts',
    ...L4_MATCH('spec.tls[]'),
    'spec.tls[].route',
  ],
  DestinationRule: [
    'spec.host',
    'spec.exportTo',
    'spec.workloadSelector',
    ...TRAFFIC_POLICY('spec.trafficPolicy'),
    'spec.subsets[].name',
    'spec.subsets[].labels',
    ...TRAFFIC_POLICY('spec.subsets[].trafficPolicy'),
  ],
  Gateway: [
    'spec.selector',
    'spec.servers[].name',
    'spec.servers[].bind',
    'spec.servers[].hosts',
    'spec.servers[].port.number',
    'spec.servers[].port.name',
    'spec.servers[].port.protocol',
    ...GATEWAY_TLS,
  ],
  ServiceEntry: ['hosts', 'addresses', 'ports', 'location', 'resolution', 'workloadSelector', 'exportTo', 'subjectAltNames']
    .map((field) => `spec.${field}`)
    .concat(WORKLOAD('spec.endpoints[]')),
  WorkloadEntry: WORKLOAD('spec'),
  WorkloadGroup: ['spec.metadata', 'spec.probe', ...WORKLOAD('spec.template')],
  Sidecar: [
    'spec.workloadSelector',
    'spec.egress',
    'spec.ingress[].port',
    'spec.ingress[].bind',
    'spec.ingress[].captureMode',
    'spec.ingress[].defaultEndpoint',
    'spec.outboundTrafficPolicy.mode',
  ],
  PeerAuthentication: ['spec.selector', 'spec.mtls', 'spec.portLevelMtls'],
  RateLimit: ['spec.selector', 'spec.rules'],
};

/**
 * Fields without effect whose absence would let more through than was written: what has them is left out, and the diagnostic is an error.
 */
export const GUARDING_FIELDS: Partial<Readonly<Record<Kind, Readonly<Record<string, string>>>>> = {
  VirtualService: {
    'spec.tcp[].match[].sourceSubnet': 'the match is left out',
  },
  Sidecar: {
    'spec.ingress[].tls': "the port is not served where mutual TLS is disabled for it, and elsewhere TLS is the mesh's",
    'spec.outboundTrafficPolicy.egressProxy': 'requests to hosts that the mesh does not know are refused',
  },
};

export interface UnsupportedValues {
  readonly path: string;
  /** In capitals; compared without regard to case. */
  readonly values: readonly string[];
  /** What comes of it; by default it has no effect. */
  readonly consequence?: string;
}

/** Values that are valid, but not translated, or that the proxy cannot honour. */
export const UNSUPPORTED_VALUES: Partial<Readonly<Record<Kind, readonly UnsupportedValues[]>>> = {
  ServiceEntry: [{ path: 'spec.resolution', values: ['DYNAMIC_DNS'] }],
  Sidecar: [{ path: 'spec.outboundTrafficPolicy.mode', values: ['ALLOW_ANY_DYNAMIC_DNS'] }],
  Gateway: [{ path: 'spec.servers[].tls.mode', values: ['AUTO_PASSTHROUGH'] }],
};
