import { IGNORED_NAMESPACES } from '@mizzen/mesh-api';
import { ANNOTATION } from './annotations.ts';
import type { InjectorValues } from './injector-config.ts';
import { selects } from './label-selector.ts';
import type { Pod } from './pod.ts';

/** Whether a pod is given a sidecar; `reason` says why not, `warning` what its author should know of that. */
export type Decision = { readonly inject: true } | { readonly inject: false; readonly reason: string; readonly warning?: string };

/** In Istio's order. Source: istio pkg/kube/inject/inject.go injectRequired (1.32 dev). */
export function decideInjection(pod: Pod, namespace: string, values: InjectorValues): Decision {
  if (pod.spec?.hostNetwork) {
    const reason = 'the pod uses the network of its host';
    return { inject: false, reason, warning: `${reason}, where its traffic cannot be captured: it gets no sidecar` };
  }
  if (IGNORED_NAMESPACES.has(namespace)) return { inject: false, reason: `${namespace} is a namespace of Kubernetes itself` };

  const said = pod.metadata?.labels?.[ANNOTATION.inject] ?? pod.metadata?.annotations?.[ANNOTATION.inject] ?? '';
  if (said === 'true') return { inject: true };
  if (said === 'false') return { inject: false, reason: `${ANNOTATION.inject} is "false"` };

  const byDefault = decideByDefault(pod, values);
  if (said === '' || byDefault.inject) return byDefault;
  return { ...byDefault, warning: `${ANNOTATION.inject} must be "true" or "false"; "${said}" has no effect` };
}

function decideByDefault(pod: Pod, values: InjectorValues): Decision {
  const labels = pod.metadata?.labels ?? {};
  if (values.neverInjectSelector.some((selector) => selects(selector, labels)))
    return { inject: false, reason: 'the pod’s labels match a neverInjectSelector' };
  if (values.alwaysInjectSelector.some((selector) => selects(selector, labels))) return { inject: true };
  return values.policy === 'enabled' ? { inject: true } : { inject: false, reason: 'the injector’s policy is "disabled"' };
}
