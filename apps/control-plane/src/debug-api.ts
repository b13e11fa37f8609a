import { type Diagnostic, joinHostPort, listenError, type Running } from '@mizzen/core';
import { type MetricRegistry, PROMETHEUS_TYPE } from '@mizzen/telemetry';
import type { ConnectionStatus, XdsServer } from '@mizzen/xds-server';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { ConfigGenerator } from './config-generator.ts';
import { configDump, endpoints, registry, sidecarScope, streams, syncStatus } from './debug-views.ts';
import { APPLIED_PATH, appliedReportOf } from './kubernetes/replica-reports.ts';
import type { Published } from './pipeline.ts';
import type { ConfiguredResource } from './resource-status.ts';

/** What the pages show. */
export interface DebugInputs {
  readonly version: string;
  readonly server: XdsServer;
  readonly generator: ConfigGenerator;
  readonly metrics: MetricRegistry;
  readonly published: () => Published;
  /** A change of an input is not in the published revision yet. */
  readonly isPending: () => boolean;
  readonly diagnostics: () => readonly Diagnostic[];
  readonly resources: () => readonly ConfiguredResource[];
  /** Undefined when ready; otherwise what is missing. */
  readonly notReady: () => string | undefined;
}

type Page = { path: string; shows: string; answer: (query: Readonly<Record<string, string | undefined>>, reply: FastifyReply) => unknown };

/** Pages of the debug port: what the control plane knows, has sent and was answered. Source of the paths: istio pilot/pkg/xds/debug.go (1.32). */
export function createDebugServer(inputs: DebugInputs): FastifyInstance {
  const app = fastify({ logger: false, forceCloseConnections: true });
  const pages = debugPages(inputs);
  for (const { path, answer } of pages) {
    app.get(path, (request, reply) => answer(request.query as Readonly<Record<string, string | undefined>>, reply));
  }
  app.get('/debug', () => pages.map(({ path, shows }) => ({ path, shows })));
  app.get('/metrics', (_, reply) => reply.type(PROMETHEUS_TYPE).send(inputs.metrics.renderPrometheus()));
  app.get('/version', () => ({ version: inputs.version }));
  app.get('/ready', (_, reply) => {
    const reason = inputs.notReady();
    return reply
      .code(reason === undefined ? 200 : 503)
      .type('text/plain')
      .send(`${reason ?? 'ok'}\n`);
  });
  return app;
}

function debugPages(inputs: DebugInputs): Page[] {
  const { server, generator, published } = inputs;
  const ofProxy =
    (answer: (connection: ConnectionStatus) => unknown): Page['answer'] =>
    ({ proxyID }, reply) => {
      const connection = findProxy(server.status(), proxyID);
      if (connection) return answer(connection);
      const known = server.status().map(({ node }) => node.id);
      return reply.code(404).send({ error: `no connected proxy ${proxyID ?? ''}; give proxyID as one of those connected`, known });
    };
  return [
    { path: '/debug/syncz', shows: 'how every proxy stands, by type', answer: () => syncStatus(server.status()) },
    { path: '/debug/adsz', shows: 'the streams and what each watches', answer: () => streams(server.status()) },
    { path: '/debug/configz', shows: 'every resource with its status', answer: () => inputs.resources() },
    {
      path: APPLIED_PATH,
      shows: 'how many proxies of this control plane have each resource',
      answer: () => appliedReportOf(inputs.resources(), server.status().length),
    },
    { path: '/debug/registryz', shows: 'the services', answer: () => registry(published().snapshot) },
    { path: '/debug/endpointz', shows: 'the endpoints of every service', answer: () => endpoints(published().snapshot) },
    { path: '/debug/mesh', shows: 'the configuration of the mesh, defaults filled in', answer: () => published().snapshot.mesh },
    {
      path: '/debug/config_dump',
      shows: 'what one proxy is sent (proxyID=)',
      answer: ofProxy((connection) => configDump(connection, generator)),
    },
    {
      path: '/debug/sidecarz',
      shows: 'what one proxy may see (proxyID=)',
      answer: ofProxy(({ node }) => sidecarScope(generator.viewOf(node))),
    },
    {
      path: '/debug/push_status',
      shows: 'the revision in force and every diagnostic',
      answer: () => ({
        revision: published().revision,
        isPending: inputs.isPending(),
        proxies: server.status().map(({ node, appliedRevision }) => ({ proxy: node.id, appliedRevision: appliedRevision ?? null })),
        diagnostics: inputs.diagnostics(),
      }),
    },
  ];
}

/** By the node's id, or by `<instance>.<namespace>` as istioctl names proxies; the newest stream of it. */
function findProxy(connections: readonly ConnectionStatus[], proxyId: string | undefined): ConnectionStatus | undefined {
  return connections.findLast(({ node }) => node.id === proxyId || node.id.split('~')[2] === proxyId);
}

/** Serves the debug port. Throws MIZZEN_PORT_IN_USE, MIZZEN_ADDRESS. */
export async function listenDebug(app: FastifyInstance, at: { host: string; port: number }): Promise<Running & { readonly port: number }> {
  try {
    await app.listen(at);
  } catch (thrown) {
    throw listenError(thrown, joinHostPort(at.host, at.port), 'debug');
  }
  const address = app.server.address();
  return { port: typeof address === 'object' && address !== null ? address.port : at.port, close: () => app.close() };
}
