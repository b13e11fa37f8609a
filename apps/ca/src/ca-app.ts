import { join } from 'node:path';
import { type App, type Clock, CloseStack, type Logger, type Running, systemClock } from '@mizzen/core';
import { ensureJoinTokenKey } from '@mizzen/identity';
import { watchAuthority } from './authority-watch.ts';
import { CA_FILE, describeAuthority, ensureCaFiles } from './ca-files.ts';
import { createCaMetrics } from './ca-metrics.ts';
import { serveSigning } from './grpc-server.ts';
import { serveHttpEndpoints } from './http-endpoints.ts';
import { createServerCertificate } from './server-certificate.ts';
import { type CaSettings, caFolderOf, caSettings } from './settings.ts';
import { openUsedTokens } from './used-tokens.ts';

/** A CA that listens. */
export interface RunningCa extends Running {
  readonly ports: { readonly grpc: number; readonly http: number };
}

/** Files → authority → own certificate → gRPC and HTTP. */
export async function startCa(settings: CaSettings, context: { logger: Logger; clock: Clock }): Promise<RunningCa> {
  const { logger, clock } = context;
  const { trustDomain, host } = settings;
  const folder = caFolderOf(settings);
  const stack = new CloseStack();
  try {
    const isNew = await ensureCaFiles(folder, { trustDomain, ttlMs: settings.rootTtl, algorithm: settings.keyAlgorithm, now: clock.now() });
    const joinTokenKey = (await ensureJoinTokenKey(join(folder, CA_FILE.joinTokenKey))).publicKey;
    const usedTokens = await openUsedTokens(join(folder, CA_FILE.usedTokens), clock);

    const { authority } = stack.use(await watchAuthority(folder, { clock, logger }));
    const { identity } = stack.use(await createServerCertificate({ authority, trustDomain, furtherNames: settings.serverNames, clock }));
    const metrics = createCaMetrics(() => authority.value, clock.now);
    const signing = {
      authority,
      joinTokenKey,
      usedTokens,
      trustDomain,
      defaultTtlMs: settings.workloadTtl,
      maxTtlMs: settings.maxWorkloadTtl,
      metrics,
      clock,
      logger,
    };

    const grpc = stack.use(await serveSigning({ ...signing, host, port: settings.port, identity }));
    const isReady = (): boolean => authority.value.notAfter > clock.now();
    const http = stack.use(await serveHttpEndpoints({ host, port: settings.httpPort, metrics, isReady }));
    logger.info({ issuer: describeAuthority(authority.value), isNew, port: grpc.port }, 'CA listens');
    return { ports: { grpc: grpc.port, http: http.port }, close: () => stack.close() };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

export const caApp: App<typeof caSettings> = {
  name: 'ca',
  summary:
    'Signs workload certificates (istio.v1.auth.IstioCertificateService): callers prove themselves by a join token or by their certificate.',
  schema: caSettings,
  async start({ settings, logger }) {
    const ca = await startCa(settings, { logger, clock: systemClock });
    process.stdout.write(`${JSON.stringify({ ready: true, app: 'ca', ports: ca.ports })}\n`);
    return ca;
  },
};
