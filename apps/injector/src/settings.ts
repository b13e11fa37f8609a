import { type SettingsOf, settings } from '@mizzen/core';
import { revisionSuffix } from '@mizzen/injection';

export const injectorSettings = {
  host: settings.string<string>('injector-host', { help: 'address to listen on', fallback: '0.0.0.0', placeholder: 'ADDRESS' }),
  webhookPort: settings.port<number>('webhook-port', { help: 'port of the webhooks (HTTPS)', fallback: 15_017 }),
  httpPort: settings.port<number>('http-port', {
    help: 'port of /healthz, /ready and /metrics',
    fallback: 15_014,
    env: 'MIZZEN_INJECTOR_HTTP_PORT',
  }),
  kubeconfig: settings.string<string | undefined>('kubeconfig', {
    help: 'file that says where the cluster is (default: KUBECONFIG, else the service account of the pod)',
    fallback: undefined,
    env: 'KUBECONFIG',
    placeholder: 'FILE',
  }),
  podName: settings.string<string>('pod-name', {
    help: 'name of this instance',
    fallback: 'mizzen-injector',
    env: 'POD_NAME',
    placeholder: 'NAME',
  }),
  podNamespace: settings.string<string>('pod-namespace', {
    help: 'namespace of the mesh: where its ConfigMaps, the Secret and the Service are',
    fallback: 'istio-system',
    env: 'POD_NAMESPACE',
    placeholder: 'NAME',
  }),
  revision: settings.string<string>('revision', {
    help: 'revision whose webhooks and ConfigMaps these are',
    fallback: 'default',
    placeholder: 'NAME',
  }),
  serviceName: settings.string<string>('service-name', {
    help: 'Service by which the API server reaches the webhooks',
    fallback: 'mizzen-injector',
    placeholder: 'NAME',
  }),
  servingCertificateTtl: settings.durationMs('serving-certificate-ttl', {
    help: 'life of the serving certificate; it is renewed after two thirds of it',
    fallback: 24 * 3_600_000,
  }),
  drainDelay: settings.durationMs('drain-delay', {
    help: 'how long webhooks are answered after the end was asked for, until the Service knows',
    fallback: 5_000,
  }),
  logLevel: settings.logLevel(),
};

export type InjectorSettings = SettingsOf<typeof injectorSettings>;

/** The ConfigMap `mizzen-injector`, `istio`, or that of the revision beside it, as Istio names them. */
export function nameForRevision(name: string, revision: string): string {
  return `${name}${revisionSuffix(revision)}`;
}
