export { checkValues, isProfile } from './check-values.ts';
export { renderCrd, renderCrds } from './crds/crd.ts';
export { renderDeployFiles } from './deploy-files.ts';
export { renderHelmChart } from './helm/chart.ts';
export { APP_LABELS, type KubeObject, REVISION_LABEL } from './objects.ts';
export { type InstallationPart, renderInstallation, renderParts } from './render.ts';
export { type InstallValues, isMap, merge, PROFILES, type Profile, profileChanges, VERSION, valuesOf, type Yaml } from './values.ts';
export { manifestYaml } from './yaml.ts';
