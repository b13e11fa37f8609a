import { Type } from 'typebox';
import { count, fields, optional, type Spec, text } from './schema.ts';
import { workloadSelectorSchema } from './shared.ts';

export const proxyConfigSchema = fields({
  selector: optional(workloadSelectorSchema),
  concurrency: optional(count),
  environmentVariables: optional(Type.Record(Type.String(), Type.String({ maxLength: 2048 }))),
  image: optional(fields({ imageType: optional(text) })),
});

export type ProxyConfigSpec = Spec<typeof proxyConfigSchema>;
