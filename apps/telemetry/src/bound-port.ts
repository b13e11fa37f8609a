import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';

/** The port that a server which listens on TCP was given. */
export function boundPort(server: FastifyInstance): number {
  return (server.server.address() as AddressInfo).port;
}
