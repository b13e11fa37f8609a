import { join } from 'node:path';
import { type App, type Clock, CloseStack, type Logger, type Running, systemClock } from '@mizzen/core';
import { ensureJoinTokenKey } from '@mizzen/identity';
import { connectKubernetes, type KubeClient } from '@mizzen/kube';
import { serveHealthEndpoints } from '@mizzen/telemetry';
import { type Authority, describeAuthority } from './authority.ts';
import { CA_FILE } from './ca-files.ts';
import { createCaMetrics } from './ca-metrics.ts';
import type { CallerTrust } from './caller.ts';
import { serveSigning } from './grpc-server.ts';
import { followKeyFiles, followKeysOfCluster } from './key-source.ts';
import { createTokenReviewer } from './kubernetes/token-reviewer.ts';
import { publishTrustBundle } from './kubernetes/trust-bundle-publisher.ts';
import { createServerCertificate } from './server-certificate.ts';
import { type CaSettings, caFolderOf, caSettings, hostOf } from './settings.ts';
import { openUsedTokens, type UsedTokens } from './used-tokens.ts';

/** A CA that listens. */
export interface RunningCa extends Running {
  readonly ports: { readonly grpc: number; readonly http: number };
}

interface Context {
  readonly logger: Logger;
  readonly clock: Clock;
  /** The cluster; default: the one that the environment names. */
  readonly client?: KubeClient;
}

/** Keys → authority → own certificate → gRPC. `/healthz` is served from the start, `/ready` says whether there are keys. */
export async function startCa(settings: CaSettings, { logger, clock, client: given }: Context): Promise<RunningCa> {
  const { trustDomain, podNamespace: namespace } = settings;
  const host = hostOf(settings);
  const stack = new CloseStack();
  let current: () => Authority | undefined = () => undefined;
  try {
    const metrics = createCaMetrics(() => current(), clock.now);
    const http = stack.use(
      await serveHealthEndpoints({
        host,
        port: settings.httpPort,
        what: 'the CA',
        registry: metrics.registry,
        // It is alive all the same: a restart would not help a CA that waits for its key.
        notReadyBecause: () => lackOf(current(), clock.now()),
      }),
    );
    const isInCluster = settings.kubernetes || settings.tokenReview;
    const client = isInCluster ? (given ?? stack.use(await connectKubernetes({ logger }))) : undefined;
    const context = { clock, logger, random: Math.random };

    const { authority } = stack.use(
      client && settings.kubernetes ? await followKeysOfCluster(settings, { ...context, client }) : await followKeyFiles(settings, context),
    );
    if (client && settings.kubernetes) stack.use(publishTrustBundle({ ...context, client, namespace, authority }));
    const { identity } = stack.use(
      await createServerCertificate({ authority, trustDomain, namespace, furtherNames: settings.serverNames, clock }),
    );
    const { trust, usedTokens } = await trustOf(settings, { client, clock });

    const signing = {
      authority,
      trust,
      usedTokens,
      defaultTtlMs: settings.workloadTtl,
      maxTtlMs: settings.maxWorkloadTtl,
      metrics,
      clock,
      logger,
    };
    const grpc = stack.use(await serveSigning({ ...signing, host, port: settings.port, identity }));
    current = () => authority.value;
    logger.info({ issuer: describeAuthority(authority.value), port: grpc.port }, 'CA listens');
    return { ports: { grpc: grpc.port, http: http.port }, close: () => stack.close() };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

function lackOf(authority: Authority | undefined, now: number): string | undefined {
  if (!authority) return 'there is no key to sign with yet; the log says why';
  return authority.notAfter > now ? undefined : 'the certificate of the CA has expired';
}

/** With tokens of a cluster, join tokens are off unless their key is given: a file would have to be written, which a pod may not. */
async function trustOf(
  settings: CaSettings,
  { client, clock }: { client: KubeClient | undefined; clock: Clock },
): Promise<{ trust: CallerTrust; usedTokens: UsedTokens | undefined }> {
  const { trustDomain } = settings;
  const tokenReviewer = client && createTokenReviewer({ client, clock });
  if (tokenReviewer && settings.joinTokenKey === undefined)
    return { trust: { trustDomain, tokenReviewer, joinTokenKey: undefined }, usedTokens: undefined };
  const folder = caFolderOf(settings);
  const { publicKey: joinTokenKey } = await ensureJoinTokenKey(settings.joinTokenKey ?? join(folder, CA_FILE.joinTokenKey));
  return { trust: { trustDomain, tokenReviewer, joinTokenKey }, usedTokens: await openUsedTokens(join(folder, CA_FILE.usedTokens), clock) };
}

export const caApp: App<typeof caSettings> = {
  name: 'ca',
  summary:
    'Signs workload certificates (istio.v1.auth.IstioCertificateService): callers prove themselves by a token or by their certificate.',
  schema: caSettings,
  async start({ settings, logger }) {
    const ca = await startCa(settings, { logger, clock: systemClock });
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'ca', ports: ca.ports })}\n`);
    return ca;
  },
};
