export { checkBootstrap, loadBootstrap } from './bootstrap.ts';
export { ConfigError } from './config/config-error.ts';
export type { SocketAddress } from './contract.ts';
export { createProxy, type MeshProxy, type MeshProxy as Proxy, type ProxyOptions } from './proxy.ts';
