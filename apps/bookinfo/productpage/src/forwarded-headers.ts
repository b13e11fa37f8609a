import { forwardHeaders, TRACE_HEADERS } from '@mizzen/bookinfo-common';
import type { FastifyRequest } from 'fastify';
import { sessionUser } from './session.ts';

/** The headers of every call that the request causes. `end-user` comes from the session alone: a client cannot claim to be somebody. */
export function forwardedHeaders(request: FastifyRequest): Record<string, string> {
  const headers = forwardHeaders(request.headers, [...TRACE_HEADERS, 'cookie', 'authorization', 'jwt']);
  const user = sessionUser(request);
  // A header cannot carry every name that a form can.
  if (user !== undefined) headers['end-user'] = /^[\x20-\x7e]+$/.test(user) ? user : encodeURIComponent(user);
  return headers;
}
