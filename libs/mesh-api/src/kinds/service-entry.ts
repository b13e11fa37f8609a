import { Type } from 'typebox';
import { fields, oneOf, optional, port, type Spec, textList } from './schema.ts';
import { labelSelectorSchema } from './shared.ts';
import { workloadEntrySchema } from './workload-entry.ts';

const servicePortSchema = fields({
  number: port,
  protocol: optional(Type.String({ maxLength: 256 })),
  name: Type.String({ minLength: 1, maxLength: 256 }),
  targetPort: optional(port),
});

export const serviceEntrySchema = fields({
  hosts: Type.Array(Type.String(), { minItems: 1, maxItems: 256 }),
  addresses: optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 256 })),
  ports: optional(Type.Array(servicePortSchema, { maxItems: 256 })),
  location: optional(oneOf(['MESH_EXTERNAL', 'MESH_INTERNAL'])),
  resolution: optional(oneOf(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'])),
  endpoints: optional(Type.Array(workloadEntrySchema, { maxItems: 4096 })),
  workloadSelector: optional(labelSelectorSchema),
  exportTo: optional(textList),
  subjectAltNames: optional(textList),
});

export type ServiceEntrySpec = Spec<typeof serviceEntrySchema>;
export type ServicePort = Spec<typeof servicePortSchema>;
