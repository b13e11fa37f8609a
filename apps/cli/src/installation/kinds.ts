import { InvariantError } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeKind } from '@mizzen/kube';

/** How the API server addresses the kind of an object that we made. */
export function kindOf({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): KubeKind {
  const known = Object.values<KubeKind>(KINDS_OF_KUBERNETES).find(
    (candidate) => candidate.kind === kind && candidate.apiVersion === apiVersion,
  );
  if (!known) throw new InvariantError(`the kind ${apiVersion} ${kind} is not known to libs/kube`);
  return known;
}

/** Kinds that an installation has objects of, in the order in which they are taken away: webhooks first, so that pods can be made again. */
export const INSTALLED_KINDS: readonly KubeKind[] = [
  KINDS_OF_KUBERNETES.MutatingWebhookConfiguration,
  KINDS_OF_KUBERNETES.ValidatingWebhookConfiguration,
  KINDS_OF_KUBERNETES.PodDisruptionBudget,
  KINDS_OF_KUBERNETES.HorizontalPodAutoscaler,
  KINDS_OF_KUBERNETES.Deployment,
  KINDS_OF_KUBERNETES.Service,
  KINDS_OF_KUBERNETES.NetworkPolicy,
  KINDS_OF_KUBERNETES.ConfigMap,
  KINDS_OF_KUBERNETES.RoleBinding,
  KINDS_OF_KUBERNETES.Role,
  KINDS_OF_KUBERNETES.ClusterRoleBinding,
  KINDS_OF_KUBERNETES.ClusterRole,
  KINDS_OF_KUBERNETES.ServiceAccount,
];

/** `a=b,c=d`: what the API server chooses objects with these labels by. */
export function labelSelectorOf(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}

/** `Deployment istio-system/mizzen-ca`: how an object is called in messages. */
export function nameOf(kind: string, { name, namespace }: { readonly name: string; readonly namespace?: string }): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}
