import { normalizeAuthority } from './authority.ts';
import type { HcmConfig } from './hcm-config.ts';
import type { LocalReply } from './local-reply.ts';
import { normalizePath } from './path-normalization.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** Puts host, header names and path in order before anybody looks at them. An answer where the request is refused for them. */
export function normalizeHead(info: HttpStreamInfo, config: HcmConfig): LocalReply | undefined {
  const { head } = info;
  if (config.authority !== undefined) {
    head.authority = normalizeAuthority(head.authority, config.authority, info.facts.connection.localAddress);
    info.authority = head.authority;
  }
  if (config.underscores !== 'allow') {
    const hasUnderscore = head.headers.names.some((name) => name.includes('_'));
    if (hasUnderscore && config.underscores === 'reject')
      return { status: 400, details: 'http1.unexpected_underscore', flag: 'downstreamProtocolError', body: '' };
    if (hasUnderscore) head.headers.removeWhere((name) => name.includes('_'));
  }
  if (config.path === undefined || head.path === '') return undefined;
  const normalized = normalizePath(head.path, config.path);
  if (normalized === undefined) return undefined;
  if (normalized.kind === 'invalid') return { status: 400, details: normalized.details, flag: undefined, body: '' };
  if (normalized.kind === 'redirect') {
    const headers = [['location', normalized.path]] as const;
    return { status: 307, details: 'path_normalization_failed', flag: undefined, body: '', headers };
  }
  head.path = normalized.path;
  info.path = normalized.path;
  return undefined;
}
