import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { fromBinary } from '@bufbuild/protobuf';
import { createLogger, errorMessage, type LogLevel, systemClock } from '@mizzen/core';
import { type Bootstrap, BootstrapSchema } from '@mizzen/xds-api/envoy/config/bootstrap/v3/bootstrap';
import { SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import type { SocketAddress } from '../contract.ts';
import type { MeshProxy } from '../mesh-proxy.ts';
import { createProxy } from '../proxy.ts';
import type { OutlierNotice } from './process-share.ts';
import type { FromWorker, ToWorker, WorkerStart } from './protocol.ts';
import { reportMetrics, reportStats } from './reports.ts';

/** One further event loop, in a thread that a `WorkerPool` started: a proxy that does as it is told. Resolves when it was told to close. */
export async function runProxyWorker(): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error('runProxyWorker is for the threads that a WorkerPool starts');
  const tell = (message: FromWorker): void => port.postMessage(message);
  const start = workerData as WorkerStart;
  const bootstrap = fromBinary(BootstrapSchema, start.bootstrap);
  moveListeners(bootstrap, start.addresses);
  const proxy = createProxy({
    bootstrap,
    clock: systemClock,
    random: Math.random,
    logger: createLogger({ app: 'proxy', level: start.logLevel as LogLevel }),
    furtherLoop: { memory: start.memory, reportOutlier: (notice: OutlierNotice) => tell({ kind: 'outlier', notice }) },
    inherited: start.inherited,
    ...(start.drainTimeMs !== undefined && { drainTimeMs: start.drainTimeMs }),
  });
  // What comes meanwhile waits in the port.
  try {
    await proxy.start();
  } catch (thrown) {
    tell({ kind: 'failed', reason: errorMessage(thrown) });
    port.close();
    return;
  }
  tell({ kind: 'started' });
  void proxy.ready.until((isReady) => isReady).then(() => tell({ kind: 'ready' }));
  await obey(port, proxy, tell);
}

function obey(port: MessagePort, proxy: MeshProxy, tell: (message: FromWorker) => void): Promise<void> {
  return new Promise((resolve) => {
    port.on('message', (message: ToWorker) => {
      switch (message.kind) {
        case 'apply':
          for (const { name, reason } of proxy.apply(message.update)) tell({ kind: 'rejected', name, reason });
          return;
        case 'secret':
          proxy.setSecret(message.name, fromBinary(SecretSchema, message.secret));
          return;
        case 'drain':
          void proxy.drain({ inboundOnly: message.inboundOnly });
          return;
        case 'stop-accepting':
          proxy.stopAccepting({ inboundOnly: message.inboundOnly });
          return;
        case 'administer':
          proxy.administer(message.path, message.query);
          return;
        case 'destroy-connections':
          proxy.destroyConnections();
          return;
        case 'reopen-access-logs':
          proxy.reopenAccessLogs();
          return;
        case 'set-healthy':
          proxy.setHealthy(message.isHealthy);
          return;
        case 'endpoint':
          proxy.followEndpoint(message.notice);
          return;
        case 'report':
          tell({
            kind: 'report',
            id: message.id,
            report: {
              activeConnections: proxy.activeConnections(),
              listeners: proxy.ownListeningDescriptors(),
              stats: reportStats(proxy.stats),
              metrics: reportMetrics(proxy.registry),
            },
          });
          return;
        case 'close':
          void proxy.close().then(() => {
            port.close();
            resolve();
          });
      }
    });
  });
}

/** A port that the system chose for the first event loop is the port of all. */
function moveListeners(bootstrap: Bootstrap, addresses: ReadonlyMap<string, SocketAddress>): void {
  bootstrap.staticResources?.listeners.forEach((listener, index) => {
    const bound = addresses.get(listener.name || `listener_${index}`);
    const { address } = listener.address ?? {};
    if (bound?.kind !== 'ip' || address?.case !== 'socketAddress') return;
    address.value.portSpecifier = { case: 'portValue', value: bound.port };
  });
}
