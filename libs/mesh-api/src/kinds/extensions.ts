import { Type } from 'typebox';
import { fields, int32, listOf, oneOf, opaqueObject, optional, port, type Spec, text } from './schema.ts';
import { targetRefSchema, targetRefsSchema, workloadSelectorSchema } from './shared.ts';

const trafficSelectors = listOf(
  fields({
    mode: optional(oneOf(['UNDEFINED', 'CLIENT', 'SERVER', 'CLIENT_AND_SERVER'])),
    ports: optional(listOf(fields({ number: port }))),
  }),
);

// What WasmPlugin has at its top and TrafficExtension under `wasm`.
const wasmFields = {
  url: Type.String({ minLength: 1 }),
  sha256: optional(Type.String({ pattern: '^([a-f0-9]{64})?$' })),
  imagePullPolicy: optional(oneOf(['UNSPECIFIED_POLICY', 'IfNotPresent', 'Always'])),
  imagePullSecret: optional(Type.String({ minLength: 1, maxLength: 253 })),
  verificationKey: optional(text),
  pluginConfig: optional(opaqueObject),
  pluginName: optional(Type.String({ minLength: 1, maxLength: 256 })),
  failStrategy: optional(oneOf(['FAIL_CLOSE', 'FAIL_OPEN', 'FAIL_RELOAD'])),
  vmConfig: optional(
    fields({
      env: optional(
        Type.Array(
          fields({
            name: Type.String({ minLength: 1, maxLength: 256 }),
            valueFrom: optional(oneOf(['INLINE', 'HOST'])),
            value: optional(Type.String({ maxLength: 2048 })),
          }),
          { maxItems: 256 },
        ),
      ),
    }),
  ),
  type: optional(oneOf(['UNSPECIFIED_PLUGIN_TYPE', 'HTTP', 'NETWORK'])),
};

export const wasmPluginSchema = fields({
  ...wasmFields,
  selector: optional(workloadSelectorSchema),
  targetRef: optional(targetRefSchema),
  targetRefs: optional(targetRefsSchema),
  phase: optional(oneOf(['UNSPECIFIED_PHASE', 'AUTHN', 'AUTHZ', 'STATS'])),
  priority: optional(int32),
  match: optional(trafficSelectors),
});

export const trafficExtensionSchema = fields({
  wasm: optional(fields(wasmFields)),
  lua: optional(fields({ inlineCode: Type.String({ minLength: 1, maxLength: 65_536 }) })),
  selector: optional(workloadSelectorSchema),
  targetRefs: optional(targetRefsSchema),
  phase: optional(oneOf(['UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS'])),
  priority: optional(int32),
  match: optional(trafficSelectors),
});

export type WasmPluginSpec = Spec<typeof wasmPluginSchema>;
export type TrafficExtensionSpec = Spec<typeof trafficExtensionSchema>;
