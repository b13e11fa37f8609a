/** What each value means, by its path; a name alone stands for the field of that name in every component. For values.yaml of the chart. */
export const VALUE_HELP: Readonly<Record<string, string>> = {
  namespace: "The namespace of the mesh's own components, and of mesh-wide resources.",
  hub: 'Where the images come from: `mizzen`, or `registry.example.com/mizzen`.',
  tag: 'Tag of the images.',
  imagePullPolicy: 'IfNotPresent, Always or Never.',
  imagePullSecrets: 'Secrets for the registry, as in a pod: `- name: my-registry`.',
  revision: 'Name of this installation where there are several: namespaces choose one by the label istio.io/rev.',
  trustDomain: 'Authority in the identities of workloads: spiffe://<trustDomain>/ns/<namespace>/sa/<service account>.',
  clusterId: 'Name of this cluster in telemetry.',
  logLevel: 'Least severe message that is logged: trace, debug, info, warn, error.',
  priorityClassName:
    "PriorityClass of the mesh's own pods. None by default: on a full node, one that preempts ends applications when the mesh is rolled.",
  nodeSelector: "Nodes that the mesh's own pods may run on.",
  tolerations: "Taints that the mesh's own pods bear.",
  nodeAffinity: "`nodeAffinity` of the mesh's own pods.",
  podSecurity: 'Pod security of the namespace: `restricted`, or `privileged` where gateways have host ports.',
  networkPolicies: 'NetworkPolicies that close every port of the components but those that they serve.',
  meshConfig: 'MeshConfig as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/; changes are taken up live.',
  meshNetworks: 'Networks by name, as `networks` in meshNetworks.',
  injection: 'Values of the injection, such as `proxy: { resources: … }` and `nativeSidecars`; libs/injection/README.md.',
  injectionTemplates: 'Templates of your own by name; libs/injection/README.md.',
  controlPlane: 'Serves configuration to the proxies.',
  ca: 'Signs the certificates of workloads.',
  injector: 'Webhooks: adds sidecars to pods, validates resources.',
  telemetry: 'Receives metrics and spans and shows the graph of services.',
  rateLimit: 'Counts requests for the whole mesh: what GLOBAL rules of RateLimits need.',
  ingressGateway: 'Takes traffic into the mesh.',
  egressGateway: 'Lets traffic out of the mesh.',
  enabled: 'Whether it is installed.',
  replicas: 'How many pods.',
  resources: '`resources` of the container.',
  labels: 'Labels of the pods beside `app` and `istio`: Gateways can select them.',
  strategy:
    '`strategy` of the Deployment; with a `hostPort` a new pod has to wait until an old one has left: maxSurge 0, maxUnavailable 1.',
  containerPorts: '`ports` of the container; with `hostPort` the gateway is reached at its node.',
  service: 'The Service in front.',
  type: 'LoadBalancer, NodePort or ClusterIP.',
  annotations: 'Annotations of the Service, such as those for a cloud load balancer.',
  ports: '`ports` of the Service, as Kubernetes writes them.',
  spec: 'Further fields of the Service: externalTrafficPolicy, loadBalancerSourceRanges, ipFamilyPolicy, …',
};

/** The help of the value at a path: that of the whole path, else that of its last part. */
export function helpOf(path: readonly string[]): string | undefined {
  return VALUE_HELP[path.join('.')] ?? (path.length > 1 ? VALUE_HELP[path.at(-1) ?? ''] : undefined);
}
