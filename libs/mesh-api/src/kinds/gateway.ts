import { fields, listOf, optional, type Spec, text, textList, textMap } from './schema.ts';
import { gatewayPortSchema, serverTlsSchema } from './shared.ts';

const serverSchema = fields({
  port: gatewayPortSchema,
  bind: optional(text),
  hosts: textList,
  tls: optional(serverTlsSchema),
  defaultEndpoint: optional(text),
  name: optional(text),
});

export const gatewaySchema = fields({ servers: optional(listOf(serverSchema)), selector: optional(textMap) });

export type GatewaySpec = Spec<typeof gatewaySchema>;
export type GatewayServer = Spec<typeof serverSchema>;
