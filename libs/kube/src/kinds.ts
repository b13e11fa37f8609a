import type { KubeKind } from './contract.ts';

const kind = (apiVersion: string, name: string, about: { plural?: string; isNamespaced?: boolean } = {}): KubeKind => ({
  apiVersion,
  kind: name,
  plural: about.plural ?? `${name.toLowerCase()}s`,
  isNamespaced: about.isNamespaced ?? true,
});
const clusterWide = (apiVersion: string, name: string, plural?: string): KubeKind =>
  kind(apiVersion, name, { isNamespaced: false, ...(plural !== undefined && { plural }) });

/** Kubernetes' own kinds that the mesh reads or writes. */
export const KINDS_OF_KUBERNETES = {
  Pod: kind('v1', 'Pod'),
  Service: kind('v1', 'Service'),
  ServiceAccount: kind('v1', 'ServiceAccount'),
  Secret: kind('v1', 'Secret'),
  ConfigMap: kind('v1', 'ConfigMap'),
  Event: kind('v1', 'Event'),
  PersistentVolumeClaim: kind('v1', 'PersistentVolumeClaim'),
  Namespace: clusterWide('v1', 'Namespace'),
  Node: clusterWide('v1', 'Node'),
  EndpointSlice: kind('discovery.k8s.io/v1', 'EndpointSlice'),
  Deployment: kind('apps/v1', 'Deployment'),
  ReplicaSet: kind('apps/v1', 'ReplicaSet'),
  StatefulSet: kind('apps/v1', 'StatefulSet'),
  DaemonSet: kind('apps/v1', 'DaemonSet'),
  Job: kind('batch/v1', 'Job'),
  CronJob: kind('batch/v1', 'CronJob'),
  Ingress: kind('networking.k8s.io/v1', 'Ingress', { plural: 'ingresses' }),
  IngressClass: clusterWide('networking.k8s.io/v1', 'IngressClass', 'ingressclasses'),
  NetworkPolicy: kind('networking.k8s.io/v1', 'NetworkPolicy', { plural: 'networkpolicies' }),
  Lease: kind('coordination.k8s.io/v1', 'Lease'),
  Role: kind('rbac.authorization.k8s.io/v1', 'Role'),
  RoleBinding: kind('rbac.authorization.k8s.io/v1', 'RoleBinding'),
  ClusterRole: clusterWide('rbac.authorization.k8s.io/v1', 'ClusterRole'),
  ClusterRoleBinding: clusterWide('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding'),
  PodDisruptionBudget: kind('policy/v1', 'PodDisruptionBudget'),
  HorizontalPodAutoscaler: kind('autoscaling/v2', 'HorizontalPodAutoscaler'),
  CustomResourceDefinition: clusterWide('apiextensions.k8s.io/v1', 'CustomResourceDefinition'),
  MutatingWebhookConfiguration: clusterWide('admissionregistration.k8s.io/v1', 'MutatingWebhookConfiguration'),
  ValidatingWebhookConfiguration: clusterWide('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration'),
  ValidatingAdmissionPolicy: clusterWide('admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicy', 'validatingadmissionpolicies'),
  ValidatingAdmissionPolicyBinding: clusterWide('admissionregistration.k8s.io/v1', 'ValidatingAdmissionPolicyBinding'),
  TokenReview: clusterWide('authentication.k8s.io/v1', 'TokenReview'),
  SubjectAccessReview: clusterWide('authorization.k8s.io/v1', 'SubjectAccessReview'),
} as const satisfies Record<string, KubeKind>;
