import { Type } from 'typebox';
import { count, fields, listOf, nonEmptyText, oneOf, optional, port, type Spec, text, textMap } from './schema.ts';
import { workloadEntrySchema } from './workload-entry.ts';

export const probeSchema = fields({
  initialDelaySeconds: optional(count),
  timeoutSeconds: optional(count),
  periodSeconds: optional(count),
  successThreshold: optional(count),
  failureThreshold: optional(count),
  httpGet: optional(
    fields({
      path: optional(text),
      port,
      host: optional(text),
      scheme: optional(oneOf(['', 'HTTP', 'HTTPS'])),
      httpHeaders: optional(listOf(fields({ name: optional(Type.String({ pattern: '^[-_A-Za-z0-9]+$' })), value: optional(text) }))),
    }),
  ),
  tcpSocket: optional(fields({ host: optional(text), port })),
  exec: optional(fields({ command: listOf(nonEmptyText) })),
  grpc: optional(fields({ port: optional(port), service: optional(text) })),
});

export const workloadGroupSchema = fields({
  metadata: optional(fields({ labels: optional(textMap), annotations: optional(textMap) })),
  template: workloadEntrySchema,
  probe: optional(probeSchema),
});

export type WorkloadGroupSpec = Spec<typeof workloadGroupSchema>;
export type ReadinessProbe = Spec<typeof probeSchema>;
