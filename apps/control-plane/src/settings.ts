import { type SettingsOf, settings } from '@mizzen/core';

/** Everything that the control plane is told from outside. */
export const controlPlaneSettings = {
  config: settings.string<string | undefined>('config', {
    help: 'directory of Istio YAML that is watched; made if it is missing. Either this or --kubernetes',
    placeholder: 'DIR',
    env: 'MIZZEN_CONFIG_DIR',
    fallback: undefined,
  }),
  kubernetes: settings.flag('kubernetes', {
    help: 'configuration, services, workloads and credentials come from the Kubernetes API',
  }),
  kubeconfig: settings.string<string | undefined>('kubeconfig', {
    help: "how to reach that API; default: KUBECONFIG, the pod's service account, ~/.kube/config",
    placeholder: 'FILE',
    fallback: undefined,
  }),
  context: settings.string<string | undefined>('context', {
    help: 'context of the kubeconfig; default its current one',
    placeholder: 'NAME',
    fallback: undefined,
  }),
  podName: settings.string<string | undefined>('pod-name', {
    help: "who this replica is when a leader is elected; default the host's name",
    placeholder: 'NAME',
    env: 'POD_NAME',
    fallback: undefined,
  }),
  podNamespace: settings.string('pod-namespace', {
    help: "namespace that the control plane runs in: of its ConfigMap `istio`, and the mesh's root namespace",
    placeholder: 'NAMESPACE',
    env: 'POD_NAMESPACE',
    fallback: 'istio-system',
  }),
  clusterDomain: settings.string('cluster-domain', { help: 'DNS domain of the cluster', placeholder: 'DOMAIN', fallback: 'cluster.local' }),
  meshConfig: settings.string<string | undefined>('mesh-config', {
    help: "file with the mesh's configuration (meshConfig fields), watched",
    placeholder: 'FILE',
    fallback: undefined,
  }),
  meshConfigMap: settings.string('mesh-config-map', {
    help: "ConfigMap with the mesh's configuration on Kubernetes, in the own namespace; a revision has one of its own",
    fallback: 'istio',
    placeholder: 'NAME',
  }),
  credentials: settings.string<string | undefined>('credentials', {
    help: 'directory with a folder of tls.crt, tls.key and ca.crt for each credentialName',
    placeholder: 'DIR',
    fallback: undefined,
  }),
  xdsPort: settings.port('xds-port', { help: 'xDS without TLS', fallback: 15_010 }),
  xdsHost: settings.string('xds-host', {
    help: 'address of the port without TLS; whoever reaches it gets any configuration',
    fallback: '127.0.0.1',
    placeholder: 'ADDRESS',
  }),
  xdsMtlsPort: settings.port('xds-mtls-port', { help: 'xDS with mutual TLS; served when --ca-address is given', fallback: 15_012 }),
  xdsMtlsHost: settings.string<string | undefined>('xds-mtls-host', {
    help: 'address of the port with mutual TLS; default 127.0.0.1, with --kubernetes 0.0.0.0',
    fallback: undefined,
    placeholder: 'ADDRESS',
  }),
  debugPort: settings.port('debug-port', { help: 'debug pages, metrics, readiness', fallback: 15_014 }),
  debugHost: settings.string<string | undefined>('debug-host', {
    help: 'address of the debug port; default 127.0.0.1, with --kubernetes 0.0.0.0',
    fallback: undefined,
    placeholder: 'ADDRESS',
  }),
  caAddress: settings.string<string | undefined>('ca-address', {
    help: 'CA that certifies this control plane; without it there is no mutual TLS',
    placeholder: 'HOST:PORT',
    fallback: undefined,
  }),
  caRoot: settings.string<string | undefined>('ca-root', {
    help: "file with the CA's root certificate",
    placeholder: 'FILE',
    fallback: undefined,
  }),
  joinToken: settings.string<string | undefined>('join-token', {
    help: 'token that proves the first request to the CA',
    placeholder: 'TOKEN',
    fallback: undefined,
  }),
  joinTokenFile: settings.string<string | undefined>('join-token-file', {
    help: 'file with that token, read for every request',
    placeholder: 'FILE',
    fallback: undefined,
  }),
  rateLimitAddress: settings.string<string | undefined>('rate-limit-address', {
    help: 'rate limit service that GLOBAL rules of RateLimits are counted by; on Kubernetes it is a Service instead',
    placeholder: 'HOST:PORT',
    fallback: undefined,
  }),
  debounceQuiet: settings.durationMs('debounce-quiet', { help: 'a push waits until nothing changed for so long', fallback: 100 }),
  debounceMax: settings.durationMs('debounce-max', { help: 'but no longer than this', fallback: 10_000 }),
  disconnectGrace: settings.durationMs('disconnect-grace', {
    help: 'an endpoint whose agent was lost stays for so long',
    fallback: 10_000,
  }),
  registrationSettle: settings.durationMs('registration-settle', {
    help: 'after its start the control plane waits so long for agents to register before it answers',
    fallback: 2_000,
  }),
  staleAfter: settings.durationMs('stale-after', { help: 'a configuration that is not answered for so long is stale', fallback: 5_000 }),
  trustDomain: settings.string<string | undefined>('trust-domain', {
    help: "trust domain of the mesh; default meshConfig's",
    placeholder: 'DOMAIN',
    fallback: undefined,
  }),
  rootNamespace: settings.string<string | undefined>('root-namespace', {
    help: "namespace of mesh-wide resources; default meshConfig's",
    placeholder: 'NAMESPACE',
    fallback: undefined,
  }),
  logLevel: settings.logLevel(),
} as const;

export type ControlPlaneSettings = SettingsOf<typeof controlPlaneSettings>;
