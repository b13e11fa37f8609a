import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import { pino } from 'pino';

export type Environment = Readonly<Record<string, string | undefined>>;

export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export interface ServiceProcess {
  readonly name: string;
  /** Printed by `--help`: the service's own variables, one a line. */
  readonly variables: string;
  /** Builds the service; throws an `Error` that names the variable when a setting is bad. */
  readonly create: (env: Environment, logger: FastifyBaseLogger) => FastifyInstance;
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];
const DRAIN_DEADLINE_MS = 10_000;
const COMMON_VARIABLES = `  PORT         port to listen on, or /path or unix:/path of a UNIX socket (default 9080)
  HOST         address to listen on (default 0.0.0.0)
  LOG_LEVEL    ${LOG_LEVELS.join(', ')} (default info)
`;

/** An HTTP service that logs one line per request and, while it closes, still answers the requests that it has accepted. */
export function createService(logger: FastifyBaseLogger): FastifyInstance {
  const service = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false,
  });
  // Without fastify's own request logging nobody else would mention what a handler threw.
  service.addHook('onError', async (request, _reply, error) => {
    logger.error({ method: request.method, path: request.url, err: error }, 'request failed');
  });
  service.addHook('onResponse', async (request, reply) => {
    logger.info(
      {
        method: request.method,
        path: request.url,
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime),
        requestId: request.headers['x-request-id'],
      },
      'request',
    );
  });
  return service;
}

/** Reads `PORT` and `HOST`. Throws an `Error` that names the variable when the port is none. */
export function parseListenAddress(env: Environment): ListenAddress {
  const port = env['PORT'] || '9080';
  if (port.startsWith('/')) return { kind: 'unix', path: port };
  if (port.startsWith('unix:/')) return { kind: 'unix', path: port.slice('unix:'.length) };
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    throw new Error(`PORT is "${port}": set it to a port between 0 and 65535 or to the path of a UNIX socket`);
  }
  return { kind: 'tcp', host: env['HOST'] || '0.0.0.0', port: Number(port) };
}

/** The body of `main.ts`: reads the settings, listens until SIGTERM or SIGINT, drains, ends with 0 (2 on bad settings, 1 if it cannot listen). */
export async function runServiceProcess(definition: ServiceProcess): Promise<void> {
  if (process.argv.includes('--help') || process.argv.includes('-h')) {
    process.stdout.write(`${definition.name}: a service of Bookinfo\n\nVariables:\n${COMMON_VARIABLES}${definition.variables}`);
    return;
  }
  const level = process.env['LOG_LEVEL'] || 'info';
  const logger = pino({ level: LOG_LEVELS.includes(level) ? level : 'info', base: { service: definition.name } });
  let service: FastifyInstance;
  let address: ListenAddress;
  try {
    if (!LOG_LEVELS.includes(level)) throw new Error(`LOG_LEVEL is "${level}": set it to one of ${LOG_LEVELS.join(', ')}`);
    address = parseListenAddress(process.env);
    service = definition.create(process.env, logger);
  } catch (error) {
    process.stderr.write(`${definition.name}: ${(error as Error).message}\n`);
    process.exitCode = 2;
    return;
  }
  const signalled = waitForSignal();
  try {
    await listen(service, address);
  } catch (error) {
    logger.fatal({ reason: (error as Error).message, address }, 'cannot listen; choose another PORT or stop what uses it');
    await service.close();
    process.exit(1);
  }
  logger.info({ signal: await signalled }, 'stopping');
  const deadline = setTimeout(() => service.server.closeAllConnections(), DRAIN_DEADLINE_MS);
  await service.close();
  clearTimeout(deadline);
  process.exit(0);
}

/** Starts to listen. A socket file that a killed process left behind is taken over; one that somebody serves is not. */
export async function listen(service: FastifyInstance, address: ListenAddress): Promise<void> {
  if (address.kind === 'tcp') {
    await service.listen({ host: address.host, port: address.port });
    return;
  }
  if (await isAbandonedSocket(address.path)) await rm(address.path);
  await service.listen({ path: address.path });
}

function isAbandonedSocket(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

function waitForSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
}
