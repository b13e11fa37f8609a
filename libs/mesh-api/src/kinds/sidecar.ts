import { Type } from 'typebox';
import { connectionPoolSchema } from './destination-rule.ts';
import { fields, listOf, oneOf, optional, type Spec, text } from './schema.ts';
import { destinationSchema, labelSelectorSchema, serverTlsSchema, sidecarPortSchema } from './shared.ts';

const captureMode = oneOf(['DEFAULT', 'IPTABLES', 'NONE']);

const ingressListenerSchema = fields({
  port: optional(sidecarPortSchema),
  bind: optional(text),
  captureMode: optional(captureMode),
  defaultEndpoint: optional(text),
  tls: optional(serverTlsSchema),
  connectionPool: optional(connectionPoolSchema),
});

const egressListenerSchema = fields({
  port: optional(sidecarPortSchema),
  bind: optional(text),
  captureMode: optional(captureMode),
  hosts: Type.Array(text, { minItems: 1 }),
});

export const sidecarSchema = fields({
  workloadSelector: optional(labelSelectorSchema),
  ingress: optional(listOf(ingressListenerSchema)),
  egress: optional(listOf(egressListenerSchema)),
  inboundConnectionPool: optional(connectionPoolSchema),
  outboundTrafficPolicy: optional(
    fields({ mode: optional(oneOf(['REGISTRY_ONLY', 'ALLOW_ANY'])), egressProxy: optional(destinationSchema) }),
  ),
});

export type SidecarSpec = Spec<typeof sidecarSchema>;
export type SidecarIngressListener = Spec<typeof ingressListenerSchema>;
export type SidecarEgressListener = Spec<typeof egressListenerSchema>;
