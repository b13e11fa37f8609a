/** A validation that the API server runs itself. `self` is the value that the rule stands at. Source: kubernetes.io, "Validation rules". */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
}

interface Placed {
  /** Kinds that the rules are for; left out: every kind with such a path. */
  readonly kinds?: readonly string[];
  readonly path: RegExp;
  readonly rules: readonly CelRule[];
}

const PROXY_POLICIES = ['WasmPlugin', 'AuthorizationPolicy', 'RequestAuthentication', 'Telemetry'];
const PORT: CelRule = { rule: '0 < self && self <= 65535', message: 'port must be between 1-65535' };
const NO_WILDCARD: CelRule = { rule: "!self.contains('*')", message: 'wildcard is not supported in selector' };

/** Which constraints between fields the API server checks. The rest, and better messages, are the validation webhook's. Source: Istio's CRDs, 1.32 dev. */
const PLACED: readonly Placed[] = [
  // --- every kind that selects workloads ---
  { kinds: PROXY_POLICIES, path: /^spec$/, rules: [atMostOne(['selector', 'targetRef', 'targetRefs'])] },
  { kinds: ['TrafficExtension'], path: /^spec$/, rules: [atMostOne(['selector', 'targetRefs'])] },
  { kinds: ['EnvoyFilter'], path: /^spec$/, rules: [atMostOne(['workloadSelector', 'targetRefs'])] },
  {
    path: /^spec\.(selector|workloadSelector)\.(matchLabels|labels)$/,
    rules: [
      { rule: "self.all(key, !key.contains('*'))", message: 'wildcard not allowed in label key match' },
      { rule: 'self.all(key, key.size() != 0)', message: 'key must not be empty' },
    ],
  },
  { path: /^spec\.(selector|workloadSelector)\.(matchLabels|labels)\{\}$/, rules: [NO_WILDCARD] },
  {
    path: /\.targetRefs?(\[\])?\.namespace$/,
    rules: [{ rule: 'self.size() == 0', message: 'cross namespace referencing is not currently supported' }],
  },

  // --- traffic ---
  { kinds: ['VirtualService'], path: /\.match\[\]\.(uri|scheme|method|authority)$/, rules: [stringMatch()] },
  { kinds: ['VirtualService'], path: /\.match\[\]\.(headers|queryParams|withoutHeaders)\{\}$/, rules: [stringMatch()] },
  { kinds: ['VirtualService'], path: /\.allowOrigins\[\]$/, rules: [stringMatch()] },
  { kinds: ['VirtualService'], path: /\.redirect$/, rules: [atMostOne(['port', 'derivePort'])] },
  { kinds: ['VirtualService'], path: /\.directResponse\.body$/, rules: [atMostOne(['string', 'bytes'])] },
  { kinds: ['VirtualService'], path: /\.fault\.abort$/, rules: [atMostOne(['httpStatus', 'grpcStatus', 'http2Error'])] },
  { kinds: ['VirtualService'], path: /\.fault\.delay$/, rules: [atMostOne(['fixedDelay', 'exponentialDelay'])] },
  {
    kinds: ['Gateway', 'Sidecar'],
    path: /\.tls$/,
    rules: [atMostOne(['credentialName', 'credentialNames', 'tlsCertificates'])],
  },
  {
    kinds: ['EnvoyFilter'],
    path: /\.configPatches\[\]\.match$/,
    rules: [
      atMostOne(['listener', 'routeConfiguration', 'cluster', 'waypoint']),
      {
        rule: "(has(self.context) && self.context == 'WAYPOINT') == has(self.waypoint)",
        message: 'only support waypointMatch when context is WAYPOINT',
      },
    ],
  },

  // --- services and workloads ---
  {
    kinds: ['ServiceEntry'],
    path: /^spec$/,
    rules: [
      atMostOne(['workloadSelector', 'endpoints']),
      {
        rule: "!has(self.addresses) || !has(self.resolution) || self.resolution in ['STATIC', 'NONE'] || !self.addresses.exists(k, k.contains('/'))",
        message: 'CIDR addresses are allowed only for NONE/STATIC resolution types',
      },
      {
        rule: "(has(self.resolution) && self.resolution != 'NONE') || !has(self.endpoints)",
        message: 'NONE mode cannot set endpoints',
      },
      {
        rule: "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) || self.endpoints.size() <= 1",
        message: 'DNS_ROUND_ROBIN mode cannot have multiple endpoints',
      },
    ],
  },
  { kinds: ['ServiceEntry'], path: /\.hosts\[\]$/, rules: [{ rule: "self != '*'", message: 'hostname cannot be wildcard' }] },
  {
    kinds: ['ServiceEntry'],
    path: /^spec\.ports$/,
    rules: [{ rule: 'self.all(l1, self.exists_one(l2, l1.number == l2.number))', message: 'port number cannot be duplicated' }],
  },
  { kinds: ['ServiceEntry'], path: /^spec\.ports\[\]\.(number|targetPort)$/, rules: [PORT] },
  ...workload('ServiceEntry', /^spec\.endpoints\[\]/, { needsAddress: true }),
  ...workload('WorkloadEntry', /^spec/, { needsAddress: true }),
  ...workload('WorkloadGroup', /^spec\.template/, { needsAddress: false }),
  { kinds: ['WorkloadGroup'], path: /\.probe$/, rules: [atMostOne(['httpGet', 'tcpSocket', 'exec', 'grpc'])] },
  { kinds: ['WorkloadGroup'], path: /\.probe\.(httpGet|tcpSocket|grpc)\.port$/, rules: [PORT] },

  // --- security ---
  {
    kinds: ['PeerAuthentication'],
    path: /^spec$/,
    rules: [
      {
        rule: '!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)',
        message: 'portLevelMtls requires selector',
      },
    ],
  },
  {
    kinds: ['PeerAuthentication'],
    path: /\.portLevelMtls$/,
    rules: [{ rule: "self.all(key, key.matches('^[0-9]{1,5}$') && 0 < int(key) && int(key) <= 65535)", message: PORT.message }],
  },
  {
    kinds: ['AuthorizationPolicy'],
    path: /^spec$/,
    rules: [
      {
        rule: "has(self.provider) == (has(self.action) && self.action == 'CUSTOM')",
        message: 'provider and action CUSTOM belong together',
      },
    ],
  },
  {
    kinds: ['AuthorizationPolicy'],
    path: /\.source$/,
    rules: [
      {
        rule: '!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))',
        message: 'Cannot set serviceAccounts with namespaces or principals',
      },
    ],
  },
  { kinds: ['RequestAuthentication'], path: /\.jwtRules\[\]$/, rules: [atMostOne(['jwksUri', 'jwks_uri', 'jwks'])] },
  {
    kinds: ['RequestAuthentication'],
    path: /\.jwtRules\[\]\.(jwksUri|jwks_uri)$/,
    rules: [{ rule: "self.startsWith('https://') || self.startsWith('http://')", message: 'url must have scheme http:// or https://' }],
  },

  // --- telemetry and extensions ---
  { kinds: ['Telemetry'], path: /\.overrides\[\]\.match$/, rules: [atMostOne(['metric', 'customMetric'])] },
  { kinds: ['Telemetry'], path: /\.customTags\{\}$/, rules: [atMostOne(['literal', 'environment', 'header', 'formatter'])] },
  {
    kinds: ['Telemetry'],
    path: /\.tagOverrides\{\}$/,
    rules: [
      {
        rule: "!has(self.operation) || self.operation != 'UPSERT' || (has(self.value) && self.value != '')",
        message: 'value must be set when operation is UPSERT',
      },
      {
        rule: "!has(self.operation) || self.operation != 'REMOVE' || !has(self.value)",
        message: 'value must not be set when operation is REMOVE',
      },
    ],
  },
  {
    kinds: ['TrafficExtension'],
    path: /^spec$/,
    rules: [{ rule: 'has(self.wasm) != has(self.lua)', message: 'exactly one of wasm or lua must be set' }],
  },
  {
    path: /^spec(\.wasm)?\.url$/,
    rules: [
      {
        rule: "!self.contains('://') || self.matches('^(http|https|file|oci)://')",
        message: 'url must have schema one of [http, https, file, oci]',
      },
    ],
  },
  {
    path: /\.vmConfig\.env\[\]$/,
    rules: [
      {
        rule: "!has(self.valueFrom) || self.valueFrom != 'HOST' || !has(self.value)",
        message: 'value may only be set when valueFrom is INLINE',
      },
    ],
  },
];

const DURATION: CelRule = { rule: "duration(self) >= duration('1ms')", message: 'must be a valid duration greater than 1ms' };

/** The rules at one place of a kind's schema; `format` is how our schemas mark durations of at least 1 ms. */
export function rulesAt(kind: string, path: string, format: string | undefined): readonly CelRule[] {
  const placed = PLACED.filter((entry) => (!entry.kinds || entry.kinds.includes(kind)) && entry.path.test(path));
  return [...placed.flatMap(({ rules }) => rules), ...(format === 'go-duration-positive' ? [DURATION] : [])];
}

// Protobuf wrappers, for which `null` is a way to leave them out. Source: Istio's CRDs, 1.32 dev.
const NULLABLE = new Set(
  `enabled aggression minimumPercent minClusterSize consecutive5xxErrors consecutiveGatewayErrors consecutiveLocalOriginFailures
   insecureSkipVerify percent concurrency allowCredentials mirror_percent mirrorPercent retryIgnorePreviousHosts retryRemoteLocalities
   disabled disableContextPropagation disableSpanReporting enableIstioTags randomSamplingPercentage useRequestIdForTraceSampling`.split(
    /\s+/,
  ),
);

export function isNullable(path: string): boolean {
  // `fault.delay.percent` is a plain number.
  return NULLABLE.has(path.slice(path.lastIndexOf('.') + 1)) && !path.includes('.fault.');
}

// DestinationRule has so many durations that no budget is left for rules in CEL; `oneOf` costs nothing but explains itself badly.
const EXCLUSIVE: readonly { readonly path: RegExp; readonly fields: readonly string[] }[] = [
  { path: /\.loadBalancer$/, fields: ['simple', 'consistentHash', 'backendUtilization'] },
  { path: /\.consistentHash$/, fields: ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'] },
];

/** Fields of an object of which at most one may be set, where that is said without CEL. */
export function exclusiveFieldsAt(path: string): readonly string[] | undefined {
  return EXCLUSIVE.find((entry) => entry.path.test(path))?.fields;
}

/** The key of the items of a list whose items have one, so that appliers own items instead of the whole list. */
export function mapListKey(path: string): string | undefined {
  if (path === 'spec.ports') return 'name';
  if (path.endsWith('.match[].ports')) return 'number';
  if (path.endsWith('.vmConfig.env')) return 'name';
  return undefined;
}

function atMostOne(fields: readonly string[]): CelRule {
  const count = fields.map((field) => `(has(self.${field}) ? 1 : 0)`).join(' + ');
  return { rule: `${count} <= 1`, message: `only one of ${fields.join(', ')} can be set` };
}

function stringMatch(): CelRule {
  return atMostOne(['exact', 'prefix', 'regex']);
}

function workload(kind: string, at: RegExp, { needsAddress }: { needsAddress: boolean }): readonly Placed[] {
  const below = (rest: string): RegExp => new RegExp(`${at.source}${rest}$`);
  const isUnix = "self.startsWith('unix://')";
  return [
    {
      kinds: [kind],
      path: below(''),
      rules: [
        ...(needsAddress ? [{ rule: 'has(self.address) || has(self.network)', message: 'Address is required' }] : []),
        {
          rule: "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports)",
          message: 'UDS may not include ports',
        },
      ],
    },
    {
      kinds: [kind],
      path: below('\\.address'),
      rules: [
        { rule: `!${isUnix} || self.substring(7).matches('^[/@]')`, message: 'UDS must be an absolute path or abstract socket' },
        { rule: `!${isUnix} || !self.endsWith('/')`, message: 'UDS may not be a dir' },
      ],
    },
    {
      kinds: [kind],
      path: below('\\.ports'),
      rules: [
        {
          rule: "self.all(key, size(key) < 63 && key.matches('^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
          message: 'port name must be valid',
        },
      ],
    },
    { kinds: [kind], path: below('\\.ports\\{\\}'), rules: [PORT] },
  ];
}
