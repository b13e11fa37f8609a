import { injectionWebhooks, revisionSuffix, validationWebhook } from '@mizzen/injection';
import { stringify } from 'yaml';
import { addressOfCa, renderCa } from './components/ca.ts';
import { nameOfControlPlaneService, renderControlPlane } from './components/control-plane.ts';
import { EGRESS, INGRESS, renderGateway } from './components/gateway.ts';
import { nameOfInjector, renderInjector } from './components/injector.ts';
import { renderRateLimit } from './components/rate-limit.ts';
import { addressOfTelemetry, renderTelemetry } from './components/telemetry.ts';
import { APP_LABELS, type KubeObject, REVISION_LABEL } from './objects.ts';
import { renderCaPermissions, renderControlPlanePermissions, renderInjectorPermissions } from './rbac.ts';
import { type InstallValues, merge, type Yaml } from './values.ts';

/** A part of an installation that is there or not as a whole. */
export interface InstallationPart {
  /** File in deploy/kubernetes and template of the Helm chart: `control-plane`. */
  readonly name: string;
  /** The value that turns the part on: `telemetry` for `telemetry.enabled`; undefined for parts that are always there. */
  readonly switch: keyof InstallValues | undefined;
  readonly objects: readonly KubeObject[];
}

/** Every part of an installation, whether it is enabled or not, in the order in which they are applied. CRDs come before all of them. */
export function renderParts(values: InstallValues): readonly InstallationPart[] {
  return [
    shared('namespace', undefined, [renderNamespace(values)]),
    part('mesh-config', 'controlPlane', [renderMeshConfig(values)]),
    shared('control-plane-permissions', 'controlPlane', renderControlPlanePermissions(values)),
    part('ca', 'ca', [...renderCaPermissions(values), ...renderCa(values)]),
    part('control-plane', 'controlPlane', renderControlPlane(values)),
    part('injector', 'injector', [...renderInjectorPermissions(values), renderInjectorConfig(values), ...renderInjector(values)]),
    part('telemetry', 'telemetry', renderTelemetry(values)),
    part('rate-limit', 'rateLimit', renderRateLimit(values)),
    part('ingress-gateway', 'ingressGateway', renderGateway(INGRESS, values.ingressGateway, values)),
    part('egress-gateway', 'egressGateway', renderGateway(EGRESS, values.egressGateway, values)),
    // Last, because they lead to the injector.
    part('webhooks', 'injector', renderWebhooks(values)),
  ];

  /** What all revisions of an installation have in common, and only the last one takes with it. */
  function shared(name: string, toggle: keyof InstallValues | undefined, objects: readonly KubeObject[]): InstallationPart {
    return { name, switch: toggle, objects };
  }

  function part(name: string, toggle: keyof InstallValues, objects: readonly KubeObject[]): InstallationPart {
    return { name, switch: toggle, objects: objects.map((object) => ofRevision(object, values.revision)) };
  }
}

function ofRevision(object: KubeObject, revision: string): KubeObject {
  return { ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, [REVISION_LABEL]: revision } } };
}

/** The parts that are enabled, with the objects that are. */
export function enabledParts(values: InstallValues): readonly InstallationPart[] {
  return renderParts(values)
    .filter(({ switch: toggle }) => isOn(values, toggle))
    .map((part) => ({ ...part, objects: part.objects.filter(({ kind }) => kind !== 'NetworkPolicy' || values.networkPolicies.enabled) }));
}

/** The objects of an installation in the order in which they are applied, CRDs aside. Pure: the same values give the same objects. */
export function renderInstallation(values: InstallValues): readonly KubeObject[] {
  return enabledParts(values).flatMap(({ objects }) => objects);
}

function isOn(values: InstallValues, toggle: keyof InstallValues | undefined): boolean {
  return toggle === undefined || (values[toggle] as { readonly enabled: boolean }).enabled;
}

function renderNamespace({ namespace, podSecurity }: InstallValues): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: namespace,
      labels: {
        ...APP_LABELS,
        'istio-injection': 'disabled',
        'pod-security.kubernetes.io/enforce': podSecurity,
        'pod-security.kubernetes.io/warn': podSecurity,
      },
    },
  };
}

function renderMeshConfig(values: InstallValues): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `istio${revisionSuffix(values.revision)}`, namespace: values.namespace, labels: APP_LABELS },
    data: {
      mesh: stringify(merge(meshDefaults(values), values.meshConfig)),
      meshNetworks: stringify({ networks: values.meshNetworks }),
    },
  };
}

function meshDefaults(values: InstallValues): Yaml {
  const { trustDomain, namespace } = values;
  return {
    trustDomain,
    rootNamespace: namespace,
    defaultConfig: { discoveryAddress: `${nameOfControlPlaneService(values)}.${namespace}.svc:15012` },
  };
}

function renderInjectorConfig(values: InstallValues): KubeObject {
  const { hub, tag, imagePullPolicy, revision, clusterId } = values;
  const settings = {
    hub,
    tag,
    imagePullPolicy,
    revision,
    clusterId,
    caAddress: addressOfCa(values),
    telemetryAddress: addressOfTelemetry(values),
  };
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: nameOfInjector(values), namespace: values.namespace, labels: APP_LABELS },
    data: { values: stringify({ ...settings, ...values.injection }), templates: stringify(values.injectionTemplates) },
  };
}

function renderWebhooks(values: InstallValues): KubeObject[] {
  const options = { revision: values.revision, namespace: values.namespace, service: nameOfInjector(values) };
  return [injectionWebhooks(options), validationWebhook(options)].map((object) => ({
    ...object,
    metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...APP_LABELS } },
  }));
}
