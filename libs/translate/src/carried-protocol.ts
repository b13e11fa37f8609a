import { isHttp2, type OutboundScope, type Protocol } from '@mizzen/model';

/**
 * How a proxy carries what a port speaks. Ours has no HTTP/2 towards applications yet: what it captures of it goes on as it came, over
 * mutual TLS, without what needs to look into requests.
 */
export function carriedProtocol(protocol: Protocol, { client, isCaptured }: Pick<OutboundScope, 'client' | 'isCaptured'>): Protocol {
  return isCaptured && client === 'mizzen' && isHttp2(protocol) ? 'tcp' : protocol;
}
