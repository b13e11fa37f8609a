import { Type } from 'typebox';
import { fields, flag, listOf, nonEmptyText, oneOf, optional, port, portOrZero, type Spec, text, textList, textMap } from './schema.ts';

const selectorLabels = Type.Record(Type.String(), Type.String({ maxLength: 63, pattern: '^[^*]*$' }), { maxProperties: 4096 });

/** Selects workloads by labels; the form of security, telemetry and extensions, and of DestinationRule. */
export const workloadSelectorSchema = fields({ matchLabels: optional(selectorLabels) });
export type WorkloadSelector = Spec<typeof workloadSelectorSchema>;

/** Selects workloads by labels; the form of Sidecar, ServiceEntry and EnvoyFilter. */
export const labelSelectorSchema = fields({ labels: optional(selectorLabels) });
export type LabelSelector = Spec<typeof labelSelectorSchema>;

/** The object that a policy is attached to. It must be in the policy's own namespace, so `namespace` may only be empty. */
export const targetRefSchema = fields({
  group: optional(Type.String({ maxLength: 253, pattern: '^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$' })),
  kind: Type.String({ minLength: 1, maxLength: 63, pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$' }),
  name: Type.String({ minLength: 1, maxLength: 253 }),
  namespace: optional(Type.String({ maxLength: 0 })),
});
export type TargetRef = Spec<typeof targetRefSchema>;
export const targetRefsSchema = Type.Array(targetRefSchema, { maxItems: 16 });

/** At most one of the three; an empty object (or the regex `*`) means "is present" where presence can be asked for. */
export const stringMatchSchema = fields({ exact: optional(text), prefix: optional(text), regex: optional(text) });
export type StringMatch = Spec<typeof stringMatchSchema>;

export const portSelectorSchema = fields({ number: optional(portOrZero) });

/** A service that traffic goes to. A short host is relative to the namespace of the resource that names it. */
export const destinationSchema = fields({
  host: nonEmptyText,
  subset: optional(text),
  port: optional(portSelectorSchema),
});
export type Destination = Spec<typeof destinationSchema>;

/** Port of a Gateway server. */
export const gatewayPortSchema = fields({
  number: port,
  protocol: nonEmptyText,
  name: nonEmptyText,
  targetPort: optional(portOrZero),
});

/** Port of a Sidecar listener; 0 or absent where the address is a Unix socket. */
export const sidecarPortSchema = fields({
  number: optional(portOrZero),
  protocol: optional(text),
  name: optional(text),
  targetPort: optional(portOrZero),
});

const tlsVersion = oneOf(['TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3']);

/** TLS of a listener: Gateway servers and Sidecar ingress. */
export const serverTlsSchema = fields({
  httpsRedirect: optional(flag),
  mode: optional(oneOf(['PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'AUTO_PASSTHROUGH', 'ISTIO_MUTUAL', 'OPTIONAL_MUTUAL'])),
  serverCertificate: optional(text),
  privateKey: optional(text),
  caCertificates: optional(text),
  caCrl: optional(text),
  credentialName: optional(text),
  credentialNames: optional(Type.Array(text, { minItems: 1, maxItems: 2 })),
  caCertCredentialName: optional(text),
  tlsCertificates: optional(
    Type.Array(fields({ serverCertificate: optional(text), privateKey: optional(text), caCertificates: optional(text) }), {
      minItems: 1,
      maxItems: 2,
    }),
  ),
  subjectAltNames: optional(textList),
  verifyCertificateSpki: optional(textList),
  verifyCertificateHash: optional(textList),
  minProtocolVersion: optional(tlsVersion),
  maxProtocolVersion: optional(tlsVersion),
  cipherSuites: optional(textList),
  ecdhCurves: optional(textList),
  insecureSkipVerify: optional(flag),
});
export type ServerTlsSettings = Spec<typeof serverTlsSchema>;

export const headerOperationsSchema = fields({ set: optional(textMap), add: optional(textMap), remove: optional(textList) });
export const headersSchema = fields({ request: optional(headerOperationsSchema), response: optional(headerOperationsSchema) });
export type HeaderOperations = Spec<typeof headerOperationsSchema>;
export type Headers = Spec<typeof headersSchema>;

export const providerRefSchema = fields({ name: optional(text) });
export const providerRefsSchema = listOf(fields({ name: nonEmptyText }));
