import { join } from 'node:path';
import { type SettingsOf, settings } from '@mizzen/core';
import { KEY_ALGORITHMS } from '@mizzen/identity';

export const caSettings = {
  home: settings.string('home', { help: 'folder of the local home', fallback: '.mizzen', placeholder: 'DIR' }),
  caDir: settings.string<string | undefined>('ca-dir', {
    help: "folder of the CA's files; made with a new root where it is empty (default: ca in the home)",
    fallback: undefined,
    placeholder: 'DIR',
  }),
  kubernetes: settings.flag('kubernetes', {
    help: 'runs in a cluster: keys in Secrets, callers by TokenReview, trust bundle in a ConfigMap',
  }),
  tokenReview: settings.flag('token-review', { help: "callers prove themselves by their service account's token; on with --kubernetes" }),
  podNamespace: settings.string('pod-namespace', {
    help: 'namespace of the CA itself, its Secrets and its Service',
    fallback: 'istio-system',
    env: 'POD_NAMESPACE',
    placeholder: 'NAMESPACE',
  }),
  pluggedInDir: settings.string('cacerts-dir', {
    help: 'with --kubernetes: folder of a mounted CA, which comes before the Secrets where it is there',
    fallback: '/etc/cacerts',
    placeholder: 'DIR',
  }),
  joinTokenKey: settings.string<string | undefined>('join-token-key', {
    help: "file with the key of join tokens (default: one in the CA's folder; with --token-review join tokens are off without it)",
    fallback: undefined,
    placeholder: 'FILE',
  }),
  host: settings.string<string | undefined>('ca-host', {
    help: 'address to listen on (default: 127.0.0.1, 0.0.0.0 with --kubernetes)',
    fallback: undefined,
    placeholder: 'ADDRESS',
  }),
  port: settings.port('ca-port', { help: 'port of the signing service (gRPC over TLS)', fallback: 15_013 }),
  httpPort: settings.port('http-port', { help: 'port of /healthz and /metrics', fallback: 15_093, env: 'MIZZEN_CA_HTTP_PORT' }),
  trustDomain: settings.string('trust-domain', {
    help: 'trust domain of the identities that are signed',
    fallback: 'cluster.local',
    placeholder: 'NAME',
  }),
  workloadTtl: settings.durationMs('workload-ttl', { help: 'life of a certificate when the request names none', fallback: 86_400_000 }),
  maxWorkloadTtl: settings.durationMs('max-workload-ttl', {
    help: 'longest life of a certificate, whatever the request names',
    fallback: 90 * 86_400_000,
  }),
  rootTtl: settings.durationMs('root-ttl', { help: 'life of the root that is made where there is none', fallback: 3650 * 86_400_000 }),
  keyAlgorithm: settings.oneOf('key-algorithm', KEY_ALGORITHMS, {
    help: 'key of the root that is made where there is none',
    fallback: 'ec-p256',
  }),
  serverNames: settings.list('server-name', { help: 'further DNS name or IP address in the own server certificate', placeholder: 'NAME' }),
  logLevel: settings.logLevel(),
};

export type CaSettings = SettingsOf<typeof caSettings>;

export function caFolderOf(values: CaSettings): string {
  return values.caDir ?? join(values.home, 'ca');
}

export function hostOf({ host, kubernetes }: CaSettings): string {
  return host ?? (kubernetes ? '0.0.0.0' : '127.0.0.1');
}
