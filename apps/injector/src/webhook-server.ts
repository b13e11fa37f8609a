import type { Server } from 'node:https';
import { errorCode, joinHostPort, listenError, type Running, type Watchable } from '@mizzen/core';
import { WEBHOOK } from '@mizzen/injection';
import { type FastifyInstance, fastify } from 'fastify';
import { type AdmissionAnswer, type AdmissionRequest, readAdmissionReview, writeAdmissionReview } from './admission-review.ts';
import type { ServingCertificate } from './serving-certificate.ts';
import { answerInjection, answerValidation, type WebhookContext } from './webhooks.ts';

// An AdmissionReview of an update holds two objects, each at most 1.5 MiB in etcd and somewhat more as JSON.
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** The HTTPS server of the two webhooks. A new certificate is shown to new connections; nothing is restarted. Resolves once it listens. */
export async function serveWebhooks(options: {
  readonly host: string;
  readonly port: number;
  readonly certificate: Watchable<ServingCertificate | undefined>;
  readonly context: WebhookContext;
}): Promise<Running & { readonly port: number }> {
  const { certificate, context, host } = options;
  const first = await certificate.until((value) => value !== undefined);
  const server = fastify({
    bodyLimit: MAX_BODY_BYTES,
    forceCloseConnections: true,
    https: { key: first?.keyPem ?? '', cert: first?.certificatePem ?? '', minVersion: 'TLSv1.2' },
  }) as unknown as FastifyInstance;
  route(server, WEBHOOK.injectPath, (request) => answerInjection(request, context));
  route(server, WEBHOOK.validatePath, (request) => answerValidation(request, context));
  server.setErrorHandler((thrown, _, reply) => {
    const status = (thrown as { statusCode?: number }).statusCode ?? 500;
    context.metrics.countHttpError(String(status));
    if (status >= 500) context.logger.error({ err: thrown }, 'webhook failed');
    return reply.code(status).send({ error: errorCode(thrown) || 'the request cannot be read' });
  });
  const stop = certificate.watch((next) => {
    if (next) (server.server as unknown as Server).setSecureContext({ key: next.keyPem, cert: next.certificatePem, minVersion: 'TLSv1.2' });
  });
  try {
    await server.listen({ host, port: options.port });
  } catch (thrown) {
    stop();
    throw listenError(thrown, joinHostPort(host, options.port), 'the injector');
  }
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : options.port;
  return {
    port,
    async close() {
      stop();
      await server.close();
    },
  };

  function route(target: FastifyInstance, path: string, answer: (request: AdmissionRequest) => AdmissionAnswer): void {
    target.post(path, (request, reply) => {
      const review = readAdmissionReview(request.body);
      if (!review) {
        context.metrics.countHttpError('400');
        return reply.code(400).send({ error: 'the body must be an AdmissionReview of admission.k8s.io/v1' });
      }
      return reply.send(writeAdmissionReview(review.uid, answer(review)));
    });
  }
}
