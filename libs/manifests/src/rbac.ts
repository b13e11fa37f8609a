import { injectionWebhooks, revisionSuffix, validationWebhook } from '@mizzen/injection';
import { KINDS } from '@mizzen/mesh-api';
import { nameOfInjector } from './components/injector.ts';
import { APP_LABELS, type KubeObject } from './objects.ts';
import { renderServiceAccount } from './pod.ts';
import type { InstallValues } from './values.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** What one component may ask of the API server; nothing else. */
interface Permissions {
  readonly serviceAccount: string;
  readonly inCluster: readonly Rule[];
  readonly inRootNamespace: readonly Rule[];
}

const RBAC = 'rbac.authorization.k8s.io/v1';
const READ = ['get', 'list', 'watch'];
const ISTIO_GROUPS = [...new Set(Object.values(KINDS).map(({ group }) => group))].sort();

/** The permissions of the control plane. The tables in the READMEs of apps/control-plane and libs/sources say what each is for. */
const CONTROL_PLANE: Permissions = {
  serviceAccount: 'istiod',
  inCluster: [
    rule('', ['services', 'pods', 'nodes', 'namespaces', 'secrets'], READ),
    rule('discovery.k8s.io', ['endpointslices'], READ),
    rule('networking.k8s.io', ['ingresses', 'ingressclasses'], READ),
    rule('networking.k8s.io', ['ingresses/status'], ['update', 'patch']),
    {
      apiGroups: ISTIO_GROUPS,
      resources: Object.values(KINDS)
        .map(({ plural }) => plural)
        .sort(),
      verbs: READ,
    },
    {
      apiGroups: ISTIO_GROUPS,
      resources: Object.values(KINDS)
        .map(({ plural }) => `${plural}/status`)
        .sort(),
      verbs: ['update', 'patch'],
    },
    rule('networking.istio.io', ['workloadentries'], ['create', 'update', 'patch', 'delete']),
    { ...rule('', ['configmaps'], [...READ, 'update', 'patch']), resourceNames: ['istio-ca-root-cert'] },
    // A name cannot be demanded of what is created.
    rule('', ['configmaps'], ['create']),
    rule('authorization.k8s.io', ['subjectaccessreviews'], ['create']),
  ],
  inRootNamespace: [
    rule('', ['configmaps'], READ),
    { ...rule('coordination.k8s.io', ['leases'], ['get', 'update', 'patch']), resourceNames: ['mizzen-control-plane-leader'] },
    rule('coordination.k8s.io', ['leases'], ['create']),
  ],
};

const CA: Permissions = {
  serviceAccount: 'mizzen-ca',
  inCluster: [rule('authentication.k8s.io', ['tokenreviews'], ['create'])],
  inRootNamespace: [
    { ...rule('', ['secrets'], [...READ, 'update']), resourceNames: ['cacerts', 'istio-ca-secret'] },
    rule('', ['secrets'], ['create']),
    { ...rule('', ['configmaps'], [...READ, 'patch']), resourceNames: ['istio-ca-root-cert'] },
    rule('', ['configmaps'], ['create']),
  ],
};

function permissionsOfInjector(values: InstallValues): Permissions {
  const suffix = revisionSuffix(values.revision);
  const { revision, namespace } = values;
  const webhooks = injectionWebhooks({ revision, namespace }).metadata.name;
  const validation = validationWebhook({ revision, namespace }).metadata.name;
  return {
    serviceAccount: nameOfInjector(values),
    inCluster: [
      rule('', ['nodes'], READ),
      rule('networking.istio.io', ['proxyconfigs'], READ),
      rule('admissionregistration.k8s.io', ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'], READ),
      { ...rule('admissionregistration.k8s.io', ['mutatingwebhookconfigurations'], ['update', 'patch']), resourceNames: [webhooks] },
      { ...rule('admissionregistration.k8s.io', ['validatingwebhookconfigurations'], ['update', 'patch']), resourceNames: [validation] },
    ],
    inRootNamespace: [
      // A dry run by which it sees, before it lets validation refuse anything, that an invalid one is refused.
      rule('networking.istio.io', ['gateways'], ['create']),
      { ...rule('', ['configmaps'], READ), resourceNames: [`istio${suffix}`, `mizzen-injector${suffix}`] },
      { ...rule('', ['secrets'], [...READ, 'update', 'patch']), resourceNames: ['mizzen-injector-webhook'] },
      rule('', ['secrets'], ['create']),
      { ...rule('coordination.k8s.io', ['leases'], ['get', 'update', 'patch']), resourceNames: [`mizzen-injector-leader${suffix}`] },
      rule('coordination.k8s.io', ['leases'], ['create']),
    ],
  };
}

export function renderControlPlanePermissions(values: InstallValues): KubeObject[] {
  return renderPermissions('mizzen-control-plane', CONTROL_PLANE, values);
}

export function renderCaPermissions(values: InstallValues): KubeObject[] {
  return renderPermissions('mizzen-ca', CA, values);
}

export function renderInjectorPermissions(values: InstallValues): KubeObject[] {
  return renderPermissions(nameOfInjector(values), permissionsOfInjector(values), values);
}

function renderPermissions(name: string, permissions: Permissions, values: InstallValues): KubeObject[] {
  const { namespace } = values;
  const subjects = [{ kind: 'ServiceAccount', name: permissions.serviceAccount, namespace }];
  const clusterMetadata = { name, labels: APP_LABELS };
  const metadata = { name, namespace, labels: APP_LABELS };
  return [
    renderServiceAccount(permissions.serviceAccount, values),
    { apiVersion: RBAC, kind: 'ClusterRole', metadata: clusterMetadata, rules: permissions.inCluster },
    { apiVersion: RBAC, kind: 'ClusterRoleBinding', metadata: clusterMetadata, roleRef: roleRef('ClusterRole', name), subjects },
    { apiVersion: RBAC, kind: 'Role', metadata, rules: permissions.inRootNamespace },
    { apiVersion: RBAC, kind: 'RoleBinding', metadata, roleRef: roleRef('Role', name), subjects },
  ];
}

function roleRef(kind: 'Role' | 'ClusterRole', name: string): { readonly apiGroup: string; readonly kind: string; readonly name: string } {
  return { apiGroup: 'rbac.authorization.k8s.io', kind, name };
}

function rule(group: string, resources: readonly string[], verbs: readonly string[]): Rule {
  return { apiGroups: [group], resources, verbs };
}
