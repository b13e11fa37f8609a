import { ANNOTATION, listOf } from './annotations.ts';
import { renderTemplate, type TemplateScope } from './custom-template.ts';
import { initContainer } from './init-container.ts';
import { type InjectionContext, imageOf, interceptionModeOf, statusPortOf } from './injection-context.ts';
import type { InjectorConfig } from './injector-config.ts';
import { annotationOf, appContainersOf, type Container, labelOf, type Pod } from './pod.ts';
import { captureEnvironment, proxyContainer } from './proxy-container.ts';
import { proxyVolumes } from './volumes.ts';
import { canonicalNameOf, canonicalRevisionOf } from './workload.ts';

/** The names of the templates that a pod is given: its annotation's, else the configured default. */
export function templateNamesOf(pod: Pod, config: InjectorConfig): readonly string[] {
  const said = annotationOf(pod, ANNOTATION.templates);
  return said === undefined ? config.values.defaultTemplates : listOf(said);
}

/** The part of a pod that a template lays over it. Throws an Error for a template that is not there or cannot be filled in. */
export function buildTemplate(name: string, context: InjectionContext, config: InjectorConfig): Pod {
  if (name === 'sidecar') return sidecarTemplate(context);
  if (name === 'gateway') return gatewayTemplate(context);
  const custom = config.templates.get(name);
  if (custom) return renderTemplate(custom, scopeOf(context));
  const known = ['sidecar', 'gateway', ...config.templates.keys()].join(', ');
  throw new Error(`there is no injection template "${name}"; there are ${known}`);
}

function sidecarTemplate(context: InjectionContext): Pod {
  const { pod, isNative, settings } = context;
  const base = proxyContainer(context, 'sidecar');
  const proxy: Container = {
    ...base,
    env: [...(base.env ?? []), ...captureEnvironment(context)],
    ...(isNative && { restartPolicy: 'Always' }),
    ...lifecycleOf(context, isNative, settings.holdApplicationUntilProxyStarts),
  };
  const init = interceptionModeOf(context) === 'NONE' ? [] : [initContainer(context)];
  return {
    metadata: {
      labels: { 'security.istio.io/tlsMode': labelOf(pod, 'security.istio.io/tlsMode') ?? 'istio', ...canonicalLabels(context) },
      annotations: commonAnnotations(context),
    },
    spec: {
      initContainers: isNative ? [...init, proxy] : init,
      ...(!isNative && { containers: [proxy] }),
      volumes: proxyVolumes(context),
      ...imagePullSecrets(context),
    },
  };
}

// Before the program ends a native sidecar has only to begin to drain: the kubelet ends it after the program.
function lifecycleOf(context: InjectionContext, isNative: boolean, holdsApplication: boolean): Pick<Container, 'lifecycle'> {
  if (isNative && statusPortOf(context) !== 0) return { lifecycle: { preStop: runs('drain') } };
  return !isNative && holdsApplication ? { lifecycle: { postStart: runs('wait') } } : {};
}

function runs(command: string): { exec: { command: string[] } } {
  return { exec: { command: ['node', '/app/main.mjs', command] } };
}

function gatewayTemplate(context: InjectionContext): Pod {
  return {
    metadata: { labels: canonicalLabels(context), annotations: commonAnnotations(context) },
    spec: {
      // So that a Gateway's port 80 can be bound without a capability. A safe sysctl of Kubernetes.
      securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
      containers: [proxyContainer(context, 'ingress-gateway')],
      volumes: proxyVolumes(context),
      ...imagePullSecrets(context),
    },
  };
}

function canonicalLabels({ pod, workload }: InjectionContext): Record<string, string> {
  return {
    'service.istio.io/canonical-name': canonicalNameOf(pod, workload),
    'service.istio.io/canonical-revision': canonicalRevisionOf(pod),
  };
}

function commonAnnotations({ pod, values }: InjectionContext): Record<string, string> {
  const first = appContainersOf(pod)[0]?.name;
  const annotations: Record<string, string> = { 'istio.io/rev': values.revision };
  for (const name of ['kubectl.kubernetes.io/default-container', 'kubectl.kubernetes.io/default-logs-container'])
    if (first !== undefined && annotationOf(pod, name) === undefined) annotations[name] = first;
  return annotations;
}

function imagePullSecrets({ values }: InjectionContext): { imagePullSecrets?: { name: string }[] } {
  return values.imagePullSecrets.length === 0 ? {} : { imagePullSecrets: values.imagePullSecrets.map((name) => ({ name })) };
}

/** What `${…}` in a custom template may name. */
function scopeOf(context: InjectionContext): TemplateScope {
  const { pod, namespace, workload, values, meshConfig } = context;
  const { labels = {}, annotations = {}, name = '' } = pod.metadata ?? {};
  return {
    pod: { name, namespace, labels, annotations, serviceAccount: pod.spec?.serviceAccountName ?? 'default' },
    workload: { name: workload.name, kind: workload.kind },
    values,
    mesh: { trustDomain: meshConfig.trustDomain, rootNamespace: meshConfig.rootNamespace },
    revision: values.revision,
    proxy: { image: imageOf(context, 'sidecar'), statusPort: statusPortOf(context) },
  };
}
