import type { MeshConfig, ProxySettings } from '@mizzen/mesh-api';
import { ANNOTATION, parseBoolean } from './annotations.ts';
import type { InjectorValues } from './injector-config.ts';
import { annotationOf, type Pod } from './pod.ts';
import type { PodWorkload } from './workload.ts';

/** Everything that a template is made of. */
export interface InjectionContext {
  readonly pod: Pod;
  readonly namespace: string;
  readonly workload: PodWorkload;
  readonly values: InjectorValues;
  readonly meshConfig: MeshConfig;
  /** The mesh's proxy settings with those of this pod over them. */
  readonly settings: ProxySettings;
  readonly isNative: boolean;
}

/** The annotation's value, else the fallback. */
export function annotationOr({ pod }: InjectionContext, name: string, fallback: string): string {
  return annotationOf(pod, name) ?? fallback;
}

export function interceptionModeOf(context: InjectionContext): string {
  return annotationOr(context, ANNOTATION.interceptionMode, context.settings.interceptionMode ?? 'REDIRECT');
}

/** 0: the agent takes any free one, and nobody outside is told. */
export function statusPortOf(context: InjectionContext): number {
  return Number(annotationOr(context, ANNOTATION.statusPort, String(context.settings.statusPort)));
}

/** Whether programs resolve names through the sidecar. Source: Istio's proxy metadata ISTIO_META_DNS_CAPTURE. */
export function capturesDns({ settings, values }: InjectionContext): boolean {
  const said = settings.proxyMetadata['ISTIO_META_DNS_CAPTURE'];
  return said === undefined ? values.proxy.dnsCapture : parseBoolean(said) === true;
}

/** `<hub>/<app>:<tag>`, or what the pod's annotation names. */
export function imageOf(context: InjectionContext, app: string): string {
  return annotationOf(context.pod, ANNOTATION.proxyImage) ?? `${context.values.hub}/${app}:${context.values.tag}`;
}
