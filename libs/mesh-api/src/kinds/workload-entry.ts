import { Type } from 'typebox';
import { fields, optional, port, type Spec, textMap, uint32 } from './schema.ts';

/** One workload: a WorkloadEntry, an endpoint of a ServiceEntry, the template of a WorkloadGroup. */
export const workloadEntrySchema = fields({
  address: optional(Type.String({ maxLength: 256 })),
  ports: optional(Type.Record(Type.String(), port, { maxProperties: 128 })),
  labels: optional(textMap),
  network: optional(Type.String({ maxLength: 2048 })),
  locality: optional(Type.String({ maxLength: 2048 })),
  weight: optional(uint32),
  serviceAccount: optional(Type.String({ maxLength: 253 })),
});

export type WorkloadEntrySpec = Spec<typeof workloadEntrySchema>;
