export { checkBootstrap, loadBootstrap } from './bootstrap.ts';
export { ConfigError } from './config/config-error.ts';
export type { SocketAddress } from './contract.ts';
export { awaitSuccessor, type Predecessor, type Replaceable, takeOver } from './hot-restart/hot-restart.ts';
export type { MeshProxy, MeshProxy as Proxy, ProxyOptions } from './mesh-proxy.ts';
export { createProxy } from './proxy.ts';
export { reopenAccessLogsOnSignal } from './system/reopen-signal.ts';
export { runProxyWorker } from './workers/proxy-worker.ts';
