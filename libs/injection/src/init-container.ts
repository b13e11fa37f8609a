import { ANNOTATION, listOf } from './annotations.ts';
import { annotationOr, capturesDns, type InjectionContext, imageOf, interceptionModeOf, statusPortOf } from './injection-context.ts';
import { annotationOf, type Container, INIT_CONTAINER } from './pod.ts';
import { METRICS_PORT, PROXY_ID, READINESS_PORT } from './proxy-container.ts';

/** The container that sets the iptables rules before anything else runs: root, with the two capabilities that this takes and no other. */
export function initContainer(context: InjectionContext): Container {
  const { values } = context;
  return {
    name: INIT_CONTAINER,
    image: imageOf(context, 'sidecar'),
    ...(values.imagePullPolicy !== '' && { imagePullPolicy: values.imagePullPolicy }),
    args: ['iptables', ...iptablesFlags(context)],
    resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { cpu: '1000m', memory: '256Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { add: ['NET_ADMIN', 'NET_RAW'], drop: ['ALL'] },
      privileged: false,
      // iptables locks /run/xtables.lock.
      readOnlyRootFilesystem: false,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
      seccompProfile: { type: 'RuntimeDefault' },
    },
  };
}

/** Source: the flags of Istio's istio-iptables, which `mizzen iptables` takes. */
function iptablesFlags(context: InjectionContext): string[] {
  const { values, meshConfig, pod } = context;
  const { proxy } = values;
  const said = (name: string, fallback: string): string => annotationOr(context, name, fallback);
  const virtualInterfaces =
    annotationOf(pod, ANNOTATION.rerouteVirtualInterfaces) ?? annotationOf(pod, ANNOTATION.kubevirtInterfaces) ?? '';
  const optional = (flag: string, value: string): string[] => (value === '' ? [] : [flag, value]);
  return [
    '-p',
    String(meshConfig.proxyListenPort),
    '-z',
    String(meshConfig.proxyInboundListenPort),
    '-u',
    String(PROXY_ID),
    '-m',
    interceptionModeOf(context),
    '-i',
    said(ANNOTATION.includeOutboundIPRanges, proxy.includeIPRanges),
    '-x',
    said(ANNOTATION.excludeOutboundIPRanges, proxy.excludeIPRanges),
    '-b',
    said(ANNOTATION.includeInboundPorts, proxy.includeInboundPorts),
    '-d',
    excludedInboundPorts(context),
    ...optional('-q', said(ANNOTATION.includeOutboundPorts, proxy.includeOutboundPorts)),
    ...optional('-o', said(ANNOTATION.excludeOutboundPorts, proxy.excludeOutboundPorts)),
    ...optional('-k', virtualInterfaces),
    ...optional('-c', said(ANNOTATION.excludeInterfaces, '')),
    ...(capturesDns(context) ? ['--redirect-dns'] : []),
  ];
}

// The mesh's own ports are asked by the kubelet and by Prometheus, which have no certificate.
function excludedInboundPorts(context: InjectionContext): string {
  const said = listOf(annotationOr(context, ANNOTATION.excludeInboundPorts, context.values.proxy.excludeInboundPorts));
  const statusPort = statusPortOf(context);
  return [...new Set([String(METRICS_PORT), String(READINESS_PORT), ...(statusPort === 0 ? [] : [String(statusPort)]), ...said])].join(',');
}
