export { checkBootstrap, loadBootstrap } from './bootstrap.ts';
export { ConfigError } from './config/config-error.ts';
export type { SocketAddress } from './contract.ts';
export { awaitSuccessor, type Predecessor, takeOver } from './hot-restart/hot-restart.ts';
export { createProxy, type MeshProxy, type MeshProxy as Proxy, type ProxyOptions } from './proxy.ts';
export { reopenAccessLogsOnSignal } from './system/reopen-signal.ts';
export { runProxyWorker } from './workers/proxy-worker.ts';
