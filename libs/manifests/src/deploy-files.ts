import { stringify } from 'yaml';
import { renderCrds } from './crds/crd.ts';
import { renderHelmChart } from './helm/chart.ts';
import { enabledParts } from './render.ts';
import { valuesOf } from './values.ts';
import { manifestYaml } from './yaml.ts';

/**
 * The files below deploy/ that are made from code: deploy/crds, deploy/kubernetes (the default profile, for `kubectl apply -k`) and the Helm
 * chart. By their path from the root.
 */
export function renderDeployFiles(): ReadonlyMap<string, string> {
  const crds = renderCrds().map((crd) => [`${crd.metadata.name}.yaml`, manifestYaml([crd])] as const);
  const parts = installedParts();
  return new Map([
    ...crds.map(([file, text]) => [`deploy/crds/${file}`, text] as const),
    ['deploy/crds/kustomization.yaml', kustomization(crds.map(([file]) => file))],
    ...parts.map(({ name, text }) => [`deploy/kubernetes/${name}.yaml`, text] as const),
    ['deploy/kubernetes/kustomization.yaml', kustomization(['../crds', ...parts.map(({ name }) => `${name}.yaml`)])],
    ...[...renderHelmChart()].map(([file, text]) => [`deploy/helm/mizzen/${file}`, text] as const),
  ]);
}

function installedParts(): readonly { readonly name: string; readonly text: string }[] {
  return enabledParts(valuesOf('default')).map(({ name, objects }) => ({ name, text: manifestYaml(objects) }));
}

function kustomization(resources: readonly string[]): string {
  return stringify({ apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', resources });
}
