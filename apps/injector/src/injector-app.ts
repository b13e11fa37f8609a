import { type App, type Clock, CloseStack, delay, type Logger, type Random, type Running, systemClock } from '@mizzen/core';
import { connectKubernetes, createLeaderElection, type KubeClient } from '@mizzen/kube';
import { serveHealthEndpoints } from '@mizzen/telemetry';
import { createInjectorMetrics } from './injector-metrics.ts';
import { createInjectorState } from './injector-state.ts';
import { createServingCertificate } from './serving-certificate.ts';
import { type InjectorSettings, injectorSettings, nameForRevision } from './settings.ts';
import { createWebhookAuthority } from './webhook-authority.ts';
import { createWebhookRegistration } from './webhook-registration.ts';
import { serveWebhooks } from './webhook-server.ts';

/** An injector that listens. */
export interface RunningInjector extends Running {
  readonly ports: { readonly webhook: number; readonly http: number };
}

export interface InjectorContext {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What the cluster says → the webhooks' CA → serving certificate → HTTPS → registration with the API server. */
export async function startInjector(settings: InjectorSettings, context: InjectorContext): Promise<RunningInjector> {
  const { client, clock, random, logger } = context;
  const { podNamespace: namespace, revision, host, serviceName } = settings;
  const shared = { client, namespace, clock, random, logger };
  const stack = new CloseStack();
  const metrics = createInjectorMetrics();
  try {
    const state = stack.use(createInjectorState({ ...shared, revision, onConfigUpdate: metrics.countConfigUpdate }));
    const authority = stack.use(createWebhookAuthority(shared));
    const serving = stack.use(
      createServingCertificate({
        authority: authority.authority,
        dnsNames: serviceNames(serviceName, namespace),
        ttlMs: settings.servingCertificateTtl,
        clock,
        random,
        onError: (thrown) => logger.error({ err: thrown }, 'the serving certificate cannot be issued'),
      }),
    );
    let isClosing = false;
    const notReadyBecause = (): string | undefined => {
      if (isClosing) return 'closing';
      if (!serving.certificate.value) return 'there is no serving certificate yet';
      return state.isSynced() ? undefined : 'the configuration was not read yet';
    };
    const http = stack.use(
      await serveHealthEndpoints({ host, port: settings.httpPort, what: 'the injector', registry: metrics.registry, notReadyBecause }),
    );
    state.start();
    authority.start();
    const webhook = stack.use(
      await serveWebhooks({
        host,
        port: settings.webhookPort,
        certificate: serving.certificate,
        context: { state, metrics, clock, logger },
      }),
    );
    const election = stack.use(
      createLeaderElection({ ...shared, name: nameForRevision('mizzen-injector-leader', revision), identity: settings.podName }),
    );
    const registration = stack.use(
      createWebhookRegistration({
        ...shared,
        revision,
        authority: authority.authority,
        isLeader: election.isLeader,
        metrics,
      }),
    );
    election.start();
    registration.start();
    logger.info({ port: webhook.port, revision }, 'injector listens');
    return {
      ports: { webhook: webhook.port, http: http.port },
      async close() {
        isClosing = true;
        await delay(clock, settings.drainDelay);
        await stack.close();
      },
    };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

function serviceNames(service: string, namespace: string): string[] {
  return [`${service}.${namespace}.svc`, `${service}.${namespace}`, `${service}.${namespace}.svc.cluster.local`];
}

export const injectorApp: App<typeof injectorSettings> = {
  name: 'injector',
  summary: 'Takes pods into the mesh and refuses invalid resources: the admission webhooks of a Kubernetes cluster.',
  schema: injectorSettings,
  async start({ settings, logger }) {
    const client = await connectKubernetes({ logger, ...(settings.kubeconfig !== undefined && { kubeconfig: settings.kubeconfig }) });
    const injector = await startInjector(settings, { client, clock: systemClock, random: Math.random, logger });
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'injector', ports: injector.ports })}\n`);
    return {
      ...injector,
      async close() {
        await injector.close();
        await client.close();
      },
    };
  },
};
