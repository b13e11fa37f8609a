import { Type } from 'typebox';
import { duration, fields, flag, listOf, nonEmptyText, oneOf, optional, type Spec, text, textList } from './schema.ts';
import { providerRefSchema, targetRefSchema, targetRefsSchema, workloadSelectorSchema } from './shared.ts';

const mutualTls = fields({ mode: optional(oneOf(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'])) });

export const peerAuthenticationSchema = fields({
  selector: optional(workloadSelectorSchema),
  mtls: optional(mutualTls),
  portLevelMtls: optional(Type.Record(Type.String(), mutualTls)),
});

const attachment = {
  selector: optional(workloadSelectorSchema),
  targetRef: optional(targetRefSchema),
  targetRefs: optional(targetRefsSchema),
};

const jwksUri = Type.String({ minLength: 1, maxLength: 2048 });

const jwtRuleSchema = fields({
  issuer: optional(nonEmptyText),
  audiences: optional(listOf(nonEmptyText)),
  jwksUri: optional(jwksUri),
  jwks_uri: optional(jwksUri),
  jwks: optional(text),
  fromHeaders: optional(listOf(fields({ name: nonEmptyText, prefix: optional(text) }))),
  fromParams: optional(listOf(nonEmptyText)),
  fromCookies: optional(listOf(nonEmptyText)),
  outputPayloadToHeader: optional(text),
  forwardOriginalToken: optional(flag),
  outputClaimToHeaders: optional(
    listOf(fields({ header: Type.String({ minLength: 1, pattern: '^[-_A-Za-z0-9]+$' }), claim: nonEmptyText })),
  ),
  timeout: optional(duration),
  spaceDelimitedClaims: optional(Type.Array(nonEmptyText, { maxItems: 64 })),
  presence: optional(oneOf(['OPTIONAL', 'REQUIRED'])),
});

export const requestAuthenticationSchema = fields({ ...attachment, jwtRules: optional(Type.Array(jwtRuleSchema, { maxItems: 4096 })) });

const serviceAccounts = Type.Array(Type.String({ maxLength: 320 }), { maxItems: 16 });

const sourceSchema = fields({
  principals: optional(textList),
  notPrincipals: optional(textList),
  requestPrincipals: optional(textList),
  notRequestPrincipals: optional(textList),
  namespaces: optional(textList),
  notNamespaces: optional(textList),
  serviceAccounts: optional(serviceAccounts),
  notServiceAccounts: optional(serviceAccounts),
  trustDomains: optional(textList),
  notTrustDomains: optional(textList),
  ipBlocks: optional(textList),
  notIpBlocks: optional(textList),
  remoteIpBlocks: optional(textList),
  notRemoteIpBlocks: optional(textList),
});

const operationSchema = fields({
  hosts: optional(textList),
  notHosts: optional(textList),
  ports: optional(textList),
  notPorts: optional(textList),
  methods: optional(textList),
  notMethods: optional(textList),
  paths: optional(textList),
  notPaths: optional(textList),
});

const ruleSchema = fields({
  from: optional(Type.Array(fields({ source: optional(sourceSchema) }), { maxItems: 512 })),
  to: optional(listOf(fields({ operation: optional(operationSchema) }))),
  when: optional(listOf(fields({ key: nonEmptyText, values: optional(textList), notValues: optional(textList) }))),
});

export const authorizationPolicySchema = fields({
  ...attachment,
  rules: optional(Type.Array(ruleSchema, { maxItems: 512 })),
  action: optional(oneOf(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM'])),
  provider: optional(providerRefSchema),
});

export type PeerAuthenticationSpec = Spec<typeof peerAuthenticationSchema>;
export type MutualTlsMode = NonNullable<NonNullable<PeerAuthenticationSpec['mtls']>['mode']>;
export type RequestAuthenticationSpec = Spec<typeof requestAuthenticationSchema>;
export type JwtRule = Spec<typeof jwtRuleSchema>;
export type AuthorizationPolicySpec = Spec<typeof authorizationPolicySchema>;
export type AuthorizationRule = Spec<typeof ruleSchema>;
