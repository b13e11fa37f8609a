/** The mesh of the translation benchmark. */
export const SHAPE = { services: 1000, endpointsPerService: 10, servicesWithRules: 250 } as const;

/** Configuration of the whole mesh: a ServiceEntry and workloads per service; two subsets and a VirtualService for every fourth. */
export function meshYaml(): string {
  const documents: string[] = [];
  for (let service = 0; service < SHAPE.services; service++) {
    documents.push(serviceYaml(service));
    for (let endpoint = 0; endpoint < SHAPE.endpointsPerService; endpoint++) documents.push(workloadYaml(service, endpoint));
    if (service < SHAPE.servicesWithRules) documents.push(destinationRuleYaml(service), virtualServiceYaml(service, 80));
  }
  return documents.join('---\n');
}

/** `weight`: of subset v1, in percent. */
export function virtualServiceYaml(service: number, weight: number): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: service-${service}, namespace: default }
spec:
  hosts: [service-${service}]
  http:
  - match: [{ headers: { end-user: { exact: jason } } }]
    route: [{ destination: { host: service-${service}, subset: v2 } }]
  - route:
    - { destination: { host: service-${service}, subset: v1 }, weight: ${weight} }
    - { destination: { host: service-${service}, subset: v2 }, weight: ${100 - weight} }
`;
}

function serviceYaml(service: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: service-${service}, namespace: default }
spec:
  hosts: [service-${service}.default.svc.cluster.local]
  location: MESH_INTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: service-${service} } }
`;
}

function workloadYaml(service: number, endpoint: number): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: service-${service}-${endpoint}, namespace: default }
spec:
  address: 10.${Math.floor(service / 250)}.${service % 250}.${endpoint + 1}
  ports: { http: 8080 }
  labels: { app: service-${service}, version: v${(endpoint % 2) + 1} }
  serviceAccount: service-${service}
`;
}

function destinationRuleYaml(service: number): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: service-${service}, namespace: default }
spec:
  host: service-${service}
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
`;
}
