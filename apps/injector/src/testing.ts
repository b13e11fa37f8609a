import { request } from 'node:https';
import { silentLogger, systemClock } from '@mizzen/core';
import { injectionWebhooks, validationWebhook } from '@mizzen/injection';
import { createReflector, KINDS_OF_KUBERNETES, type KubeKind, type KubeObject } from '@mizzen/kube';
import { createFakeApiServer, type FakeApiServer, type FakeApiServerOptions } from '@mizzen/kube/testing';
import { kubeKindOf } from '@mizzen/mesh-api';
import { type InjectorSettings, type RunningInjector, startInjector } from './index.ts';

export const NAMESPACE = 'istio-system';
export const SERVICE_NAME = 'mizzen-injector.istio-system.svc';
export const { ConfigMap, MutatingWebhookConfiguration, Node, Secret, ValidatingWebhookConfiguration } = KINDS_OF_KUBERNETES;
export const GATEWAY = kubeKindOf('Gateway');

/** A cluster with one node and both webhook configurations, and the ConfigMaps that the test gives. */
export async function createCluster(
  configMaps: Readonly<Record<string, Record<string, string>>> = {},
  options: FakeApiServerOptions = {},
): Promise<FakeApiServer> {
  const api = await createFakeApiServer(options);
  api.put(Node, { metadata: { name: 'node' }, status: { nodeInfo: { kubeletVersion: 'v1.34.1' } } });
  const about = { revision: 'default', namespace: NAMESPACE };
  api.put(MutatingWebhookConfiguration, injectionWebhooks(about) as KubeObject);
  api.put(ValidatingWebhookConfiguration, validationWebhook(about) as KubeObject);
  for (const [name, data] of Object.entries(configMaps)) api.put(ConfigMap, { metadata: { name, namespace: NAMESPACE }, data });
  return api;
}

export async function startTestInjector(api: FakeApiServer, changed: Partial<InjectorSettings> = {}): Promise<RunningInjector> {
  const settings: InjectorSettings = {
    host: '127.0.0.1',
    webhookPort: 0,
    httpPort: 0,
    kubeconfig: undefined,
    podName: 'injector-a',
    podNamespace: NAMESPACE,
    revision: 'default',
    serviceName: 'mizzen-injector',
    servingCertificateTtl: 86_400_000,
    drainDelay: 0,
    logLevel: 'silent',
    ...changed,
  };
  return startInjector(settings, { client: api.client, clock: systemClock, random: Math.random, logger: silentLogger });
}

export interface WebhookAnswer {
  readonly status: number;
  readonly body: {
    readonly response?: {
      readonly uid: string;
      readonly allowed: boolean;
      readonly patch?: string;
      readonly warnings?: readonly string[];
      readonly status?: { readonly message: string };
    };
    readonly error?: string;
  };
}

/** Posts as the API server does: over TLS to the Service's name, trusting the CA that is given and nothing else. */
export function post(about: {
  readonly port: number;
  readonly path: string;
  readonly ca: string;
  readonly body: unknown;
}): Promise<WebhookAnswer> {
  const { port, path, ca, body } = about;
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: 'POST',
        ca,
        servername: SERVICE_NAME,
        agent: false,
        headers: { 'content-type': 'application/json' },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) }));
      },
    );
    call.on('error', reject);
    call.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

export function review(request: Readonly<Record<string, unknown>>): object {
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: { uid: 'u1', operation: 'CREATE', ...request } };
}

/** Resolves with the object once it fits, however often it changes before. */
export async function objectUntil<T extends KubeObject>(
  api: FakeApiServer,
  kind: KubeKind,
  about: { readonly name: string; readonly namespace?: string; readonly fits: (object: T) => boolean },
): Promise<T> {
  const key = about.namespace === undefined ? about.name : `${about.namespace}/${about.name}`;
  const reflector = createReflector<T>({ client: api.client, kind, keep: (object) => object as T });
  reflector.start();
  try {
    const objects = await reflector.objects.until((all) => all.has(key) && about.fits(all.get(key) as T));
    return objects.get(key) as T;
  } finally {
    await reflector.close();
  }
}
