export { ANNOTATION } from './annotations.ts';
export { type InjectedManifest, injectManifest } from './inject-manifest.ts';
export { type Injection, type InjectionRequest, injectPod } from './inject-pod.ts';
export {
  DEFAULT_INJECTOR_CONFIG,
  DEFAULT_VALUES,
  type InjectorConfig,
  type InjectorValues,
  type ProxyValues,
  parseInjectorConfig,
} from './injector-config.ts';
export { type JsonPatchOperation, jsonPatch } from './json-patch.ts';
export type { LabelSelector } from './label-selector.ts';
export { haveNativeSidecars } from './native-sidecars.ts';
export type { Container, Pod, PodMetadata, PodSpec } from './pod.ts';
export { revisionSuffix } from './revision.ts';
export { injectionWebhooks, validationWebhook, WEBHOOK, type WebhookOptions } from './webhooks.ts';
