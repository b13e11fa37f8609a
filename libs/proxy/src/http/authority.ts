import { stripPort } from '@mizzen/matching';
import type { SocketAddress } from '../contract.ts';

/** What is taken off a host before anything looks at it. */
export interface AuthorityNormalization {
  readonly stripsPort: 'no' | 'matching' | 'any';
  readonly stripsTrailingDot: boolean;
}

/** Source: envoy ConnectionManagerUtility::maybeNormalizeHost (1.40). */
export function normalizeAuthority(authority: string, options: AuthorityNormalization, local: SocketAddress): string {
  let result = authority;
  if (options.stripsTrailingDot) result = result.replace(/\.(:\d+)?$/, '$1');
  if (options.stripsPort === 'any') return stripPort(result);
  if (options.stripsPort === 'matching' && local.kind === 'ip' && result.endsWith(`:${local.port}`)) return stripPort(result);
  return result;
}
