import type { Clock, Logger } from '@mizzen/core';
import type { Listener } from '@mizzen/xds-api/envoy/config/listener/v3/listener';
import { ConfigError } from '../config/config-error.ts';
import type { DownstreamConnection } from '../contract.ts';
import type { AccessLogs } from './access-logs.ts';
import { createStreamInfo } from './stream-info.ts';

/** Logs a connection that no filter chain takes. */
export type UnmatchedLog = (connection: DownstreamConnection) => void;

/**
 * The access log of a listener itself, as Istio's control plane sends it: for the flag NR alone, which a connection has that no filter chain
 * takes. Throws ConfigError for any other, since what happens to connections later is told by their filters' logs.
 * Source: envoy ActiveTcpSocket::newConnection, ActiveStreamListenerBase::emitLogs (1.40); istio accesslog.go setListenerAccessLog (1.32 dev).
 */
export function unmatchedLog(
  accessLog: Listener['accessLog'],
  { accessLogs, clock, logger }: { readonly accessLogs: AccessLogs; readonly clock: Clock; readonly logger: Logger },
): UnmatchedLog | undefined {
  for (const [index, { filter }] of accessLog.entries()) {
    const specifier = filter?.filterSpecifier;
    const isForUnmatched = specifier?.case === 'responseFlagFilter' && specifier.value.flags.join() === 'NR';
    if (!isForUnmatched)
      throw new ConfigError(
        `access_log[${index}].filter`,
        'must be a response_flag_filter for NR: this proxy logs no other connections here',
      );
  }
  const log = accessLogs.compile(accessLog);
  if (log === undefined) return undefined;
  return (connection) => {
    const info = createStreamInfo(connection, clock);
    info.flags = ['noRouteFound'];
    info.responseCodeDetails = 'filter_chain_not_found';
    info.endMonotonicMs = info.startMonotonicMs;
    try {
      log(info);
    } catch (thrown) {
      logger.error({ err: thrown }, 'a connection could not be recorded');
    }
  };
}
