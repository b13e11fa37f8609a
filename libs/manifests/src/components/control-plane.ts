import { revisionSuffix } from '@mizzen/injection';
import { renderNetworkPolicy } from '../network-policies.ts';
import type { KubeObject } from '../objects.ts';
import { type Component, ROOT_FILE, renderDeployment, renderDisruptionBudget, renderService, SERVICE_UID, TOKEN_FILE } from '../pod.ts';
import type { InstallValues } from '../values.ts';
import { addressOfCa } from './ca.ts';

// Agents accept a control plane by this identity, whatever its Deployment is called: Istio's.
const SERVICE_ACCOUNT = 'istiod';

/** Where agents find the control plane: the Service `istiod`, of the revision if it has one. */
export function nameOfControlPlaneService(values: InstallValues): string {
  return `istiod${revisionSuffix(values.revision)}`;
}

export function renderControlPlane(values: InstallValues): KubeObject[] {
  const component = describe(values);
  const name = nameOfControlPlaneService(values);
  const ports = [
    { name: 'grpc-xds', port: 15012, targetPort: 15012, protocol: 'TCP', appProtocol: 'tls' },
    { name: 'http-monitoring', port: 15014, targetPort: 15014, protocol: 'TCP' },
  ];
  return [
    renderService({ name, selector: component.selector, ports }, values),
    renderDeployment(component, values.controlPlane, values),
    renderDisruptionBudget(component, values),
    renderNetworkPolicy(component, values),
  ];
}

function describe(values: InstallValues): Component {
  const name = `mizzen-control-plane${revisionSuffix(values.revision)}`;
  return {
    name,
    image: 'control-plane',
    serviceAccount: SERVICE_ACCOUNT,
    selector: { app: nameOfControlPlaneService(values) },
    labels: { istio: 'pilot', 'app.kubernetes.io/component': 'control-plane' },
    uid: SERVICE_UID,
    env: {
      MIZZEN_KUBERNETES: 'true',
      MIZZEN_XDS_MTLS_HOST: '0.0.0.0',
      MIZZEN_DEBUG_HOST: '0.0.0.0',
      MIZZEN_CA_ADDRESS: addressOfCa(values),
      MIZZEN_CA_ROOT: ROOT_FILE,
      MIZZEN_JOIN_TOKEN_FILE: TOKEN_FILE,
      MIZZEN_TRUST_DOMAIN: values.trustDomain,
      MIZZEN_ROOT_NAMESPACE: values.namespace,
      MIZZEN_MESH_CONFIG_MAP: `istio${revisionSuffix(values.revision)}`,
    },
    ports: [
      { name: 'grpc-xds', containerPort: 15012, protocol: 'TCP' },
      { name: 'http-monitoring', containerPort: 15014, protocol: 'TCP' },
    ],
    metricsPort: 15014,
    readiness: { path: '/ready', port: 15014 },
    usesApi: true,
    hasIdentity: true,
    terminationGracePeriodSeconds: 30,
    startupSeconds: 120,
  };
}
