import type { HeaderMap } from './headers.ts';
import { SEEN } from './headers.ts';
import type { HcmRuntime } from './runtime.ts';
import type { ResponseHead } from './stream.ts';
import type { HttpStreamInfo } from './stream-info.ts';

/** What the connection manager itself says in every answer, after the filters: server, date, via, request id, Proxy-Status. */
export function completeResponseHead(head: ResponseHead, info: HttpStreamInfo, { config, date }: HcmRuntime): void {
  const { headers } = head;
  setServer(headers, config.server);
  if ((headers.seen & SEEN.date) === 0) headers.push('date', date());
  if (config.forwarding.via !== '') headers.append('via', config.forwarding.via);
  if (config.alwaysSetsRequestIdInResponse && info.requestId !== '') headers.set('x-request-id', info.requestId);
  const proxyStatus = config.proxyStatus?.(info);
  if (proxyStatus === undefined) return;
  headers.append('proxy-status', proxyStatus.value);
  if (proxyStatus.status === undefined) return;
  info.responseCode = proxyStatus.status;
  head.status = proxyStatus.status;
}

function setServer(headers: HeaderMap, { name, transformation }: HcmRuntime['config']['server']): void {
  // Filters and routes may have set one that the codec has not seen. The configured name is clean.
  if (transformation === 'overwrite') headers.setClean('server', name);
  else if (transformation === 'append-if-absent' && !headers.has('server')) headers.push('server', name);
}
