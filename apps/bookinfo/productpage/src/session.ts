import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

const COOKIE = 'session';
const MAX_USER_LENGTH = 64;

/** `POST /login` takes any name and no password into account; `GET /logout` forgets it. Both lead back to where the reader came from. */
export function addLogin(service: FastifyInstance): void {
  service.post('/login', async (request, reply) => {
    const user = String((request.body as Record<string, unknown> | undefined)?.['username'] ?? '').trim();
    if (user === '') reply.clearCookie(COOKIE, { path: '/' });
    else reply.setCookie(COOKIE, user.slice(0, MAX_USER_LENGTH), { path: '/', httpOnly: true, sameSite: 'lax', signed: true });
    return redirectBack(request, reply);
  });
  service.get('/logout', async (request, reply) => redirectBack(request, reply.clearCookie(COOKIE, { path: '/' })));
}

/** The name that the reader has logged in with, or `undefined`. A cookie with a wrong signature is none. */
export function sessionUser(request: FastifyRequest): string | undefined {
  const cookie = request.cookies[COOKIE];
  if (cookie === undefined) return undefined;
  const { valid, value } = request.unsignCookie(cookie);
  return valid && value ? value : undefined;
}

function redirectBack(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return reply.redirect(request.headers.referer ?? '/productpage', 302);
}
