import { errorMessage } from '@mizzen/core';
import type { MeshConfig, Resource } from '@mizzen/mesh-api';
import { ANNOTATION, annotationErrors, annotationWarnings, parseBoolean } from './annotations.ts';
import { rewriteAppProbes } from './app-probes.ts';
import { decideInjection } from './decision.ts';
import { effectiveProxySettings } from './effective-proxy-settings.ts';
import { type InjectionContext, interceptionModeOf, statusPortOf } from './injection-context.ts';
import type { InjectorConfig } from './injector-config.ts';
import { type JsonPatchOperation, jsonPatch } from './json-patch.ts';
import { delayProgramStop } from './late-stop.ts';
import { annotationOf, type Container, INIT_CONTAINER, type Pod, PROXY_CONTAINER } from './pod.ts';
import { mergePrometheus } from './prometheus.ts';
import { strategicMerge } from './strategic-merge.ts';
import { buildTemplate, templateNamesOf } from './templates.ts';
import { type PodWorkload, workloadOf } from './workload.ts';

export interface InjectionRequest {
  readonly pod: Pod;
  /** Where the pod is created: the pod's own metadata may not say it. */
  readonly namespace: string;
  readonly config: InjectorConfig;
  readonly meshConfig: MeshConfig;
  readonly proxyConfigs?: readonly Resource<'ProxyConfig'>[];
  /** Whether the cluster's nodes keep init containers running (`restartPolicy: Always`); decides where the pod and the config do not. */
  readonly clusterHasNativeSidecars: boolean;
  /** What the pod belongs to, where its own metadata cannot say it: a template in a file. */
  readonly workload?: PodWorkload;
}

export type Injection =
  | {
      readonly outcome: 'injected';
      readonly pod: Pod;
      readonly patch: readonly JsonPatchOperation[];
      readonly warnings: readonly string[];
    }
  | { readonly outcome: 'skipped'; readonly reason: string; readonly warnings: readonly string[] }
  | { readonly outcome: 'refused'; readonly message: string };

/**
 * Takes a pod into the mesh: decision → settings → templates → the user's own changes → metrics → probes → order. A pod that has its sidecar
 * already is left as it is. Pure; never throws.
 */
export function injectPod(request: InjectionRequest): Injection {
  const { pod, namespace, config } = request;
  if (typeof pod !== 'object' || pod === null) return { outcome: 'refused', message: 'what was given is no pod' };
  const decision = decideInjection(pod, namespace, config.values);
  if (!decision.inject) return { outcome: 'skipped', reason: decision.reason, warnings: decision.warning ? [decision.warning] : [] };
  if (isInjected(pod)) return { outcome: 'skipped', reason: 'the pod has its sidecar already', warnings: [] };

  const { settings, warnings, errors } = effectiveProxySettings(pod, namespace, { proxyConfigs: [], ...request });
  const mistakes = [...errors, ...annotationErrors(pod)];
  if (mistakes.length > 0) return { outcome: 'refused', message: mistakes.join('; ') };

  const isNative = usesNativeSidecar(request);
  const context: InjectionContext = {
    ...request,
    values: config.values,
    settings,
    workload: request.workload ?? workloadOf(pod, namespace),
    isNative,
  };
  if (interceptionModeOf(context) === 'TPROXY')
    return { outcome: 'refused', message: 'interception mode TPROXY is not supported; set interceptionMode to REDIRECT' };
  try {
    const injected = build(context, config);
    return { outcome: 'injected', pod: injected, patch: jsonPatch(pod, injected), warnings: [...annotationWarnings(pod), ...warnings] };
  } catch (thrown) {
    return { outcome: 'refused', message: errorMessage(thrown) };
  }
}

function build(context: InjectionContext, config: InjectorConfig): Pod {
  const { pod, meshConfig, values } = context;
  const statusPort = statusPortOf(context);
  const names = templateNamesOf(pod, config);
  const proxyIsInit = context.isNative && names.includes('sidecar');
  const overlays = names.map((name) => withProxyInPlace(buildTemplate(name, context, config), proxyIsInit));
  const templated = new Set(
    overlays.flatMap(({ spec }) => [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]).map(({ name }) => name),
  );

  let merged = overlays.reduce((target, overlay) => strategicMerge(target, overlay), withoutContainers(pod, templated));
  merged = withOwnContainers(merged, pod, templated);
  merged = mergePrometheus(merged, meshConfig, statusPort);
  if (statusPort !== 0 && rewritesProbes(context)) merged = rewriteAppProbes(merged, statusPort);
  if (proxyIsInit) merged = delayProgramStop(merged, values.programStopDelaySeconds);
  merged = inOrder(merged, context);
  return withStatus(merged, overlays, values);
}

// Who writes a template need not know whether the sidecar will be a native one.
function withProxyInPlace(overlay: Pod, proxyIsInit: boolean): Pod {
  const { containers = [], initContainers = [] } = overlay.spec ?? {};
  const proxy = containers.filter(({ name }) => name === PROXY_CONTAINER);
  if (!proxyIsInit || proxy.length === 0) return overlay;
  const others = containers.filter(({ name }) => name !== PROXY_CONTAINER);
  return { ...overlay, spec: { ...overlay.spec, containers: others, initContainers: [...initContainers, ...proxy] } };
}

// A status that names no container of the pod is one that was copied from elsewhere.
function isInjected(pod: Pod): boolean {
  const text = annotationOf(pod, ANNOTATION.status);
  if (text === undefined) return false;
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  return all.some(({ name, image }) => name === PROXY_CONTAINER && image !== AUTO_IMAGE);
}

function usesNativeSidecar({ pod, config, clusterHasNativeSidecars }: InjectionRequest): boolean {
  const said = annotationOf(pod, ANNOTATION.nativeSidecar);
  if (said !== undefined) return parseBoolean(said) === true;
  const { nativeSidecars } = config.values;
  return nativeSidecars === 'auto' ? clusterHasNativeSidecars : nativeSidecars === 'true';
}

function rewritesProbes({ pod, values }: InjectionContext): boolean {
  const said = annotationOf(pod, ANNOTATION.rewriteProbes);
  return (said === undefined ? undefined : parseBoolean(said)) ?? values.rewriteAppHttpProbes;
}

function withoutContainers(pod: Pod, names: ReadonlySet<string>): Pod {
  const others = (containers: readonly Container[] | undefined): readonly Container[] | undefined =>
    containers?.filter(({ name }) => !names.has(name));
  const containers = others(pod.spec?.containers);
  const initContainers = others(pod.spec?.initContainers);
  return { ...pod, spec: { ...pod.spec, ...(containers && { containers }), ...(initContainers && { initContainers }) } };
}

/** What a pod's author writes as the image of a container that a template makes. */
const AUTO_IMAGE = 'auto';

// What the pod itself says of a template's container (a gateway's resources, a sidecar's variable) is laid over what the template says.
function withOwnContainers(merged: Pod, original: Pod, templated: ReadonlySet<string>): Pod {
  const own = [...(original.spec?.containers ?? []), ...(original.spec?.initContainers ?? [])].filter(({ name }) => templated.has(name));
  const overlays = own.map(withoutAutoImage);
  const layOver = (containers: readonly Container[] | undefined): readonly Container[] | undefined =>
    containers?.map((container) =>
      overlays
        .filter(({ name }) => name === container.name)
        .reduce<Container>((target, overlay) => strategicMerge(target, overlay), container),
    );
  const containers = layOver(merged.spec?.containers);
  const initContainers = layOver(merged.spec?.initContainers);
  return { ...merged, spec: { ...merged.spec, ...(containers && { containers }), ...(initContainers && { initContainers }) } };
}

// For an image without a tag the API server has made the policy Always before the webhook is asked: nobody wrote it.
function withoutAutoImage({ image, imagePullPolicy, ...rest }: Container): Container {
  const isAuto = image === AUTO_IMAGE || image === undefined;
  return {
    ...rest,
    ...(!isAuto && { image }),
    ...(imagePullPolicy !== undefined && !(isAuto && imagePullPolicy === 'Always') && { imagePullPolicy }),
  };
}

/**
 * A native sidecar comes first, behind the rules that capture traffic, so that init containers are in the mesh; a classic one last, behind
 * init containers that still have a network without it. Source: istio pkg/kube/inject/webhook.go reorderPod (1.32 dev).
 */
function inOrder(pod: Pod, { isNative, settings }: InjectionContext): Pod {
  const { containers = [], initContainers } = pod.spec ?? {};
  const proxyFirst = !isNative && settings.holdApplicationUntilProxyStarts;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      containers: proxyFirst ? first(containers, PROXY_CONTAINER) : last(containers, PROXY_CONTAINER),
      ...(initContainers && {
        initContainers: isNative ? first(first(initContainers, PROXY_CONTAINER), INIT_CONTAINER) : last(initContainers, INIT_CONTAINER),
      }),
    },
  };
}

function first(containers: readonly Container[], name: string): readonly Container[] {
  return [...containers.filter((container) => container.name === name), ...containers.filter((container) => container.name !== name)];
}

function last(containers: readonly Container[], name: string): readonly Container[] {
  return [...containers.filter((container) => container.name !== name), ...containers.filter((container) => container.name === name)];
}

/** `sidecar.istio.io/status`: what injection added. Source: istio pkg/kube/inject/webhook.go SidecarInjectionStatus (1.32 dev). */
function withStatus(pod: Pod, overlays: readonly Pod[], { revision, injectedAnnotations }: InjectionContext['values']): Pod {
  const namesOf = (field: 'initContainers' | 'containers' | 'volumes' | 'imagePullSecrets'): string[] | null => {
    const names = [...new Set(overlays.flatMap(({ spec }) => (spec?.[field] ?? []).map(({ name }: { readonly name: string }) => name)))];
    return names.length === 0 ? null : names;
  };
  const status = JSON.stringify({
    initContainers: namesOf('initContainers'),
    containers: namesOf('containers'),
    volumes: namesOf('volumes'),
    imagePullSecrets: namesOf('imagePullSecrets'),
    revision,
  });
  const annotations = { ...pod.metadata?.annotations, [ANNOTATION.status]: status, ...injectedAnnotations };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}
