import type { MeshOptions } from './mesh/options.ts';
import type { Mesh } from './mesh/start-mesh.ts';

export { createHostCertificate, type HostCertificate } from './certificates.ts';
export { type Echo, type EchoApp, startEchoApp } from './mesh/echo-app.ts';
export { freePort } from './mesh/free-port.ts';
export type { MeshGateway } from './mesh/gateway.ts';
export {
  type Answer,
  exchangeBytes,
  openTunnel,
  type PlainRequest,
  type ProxiedRequest,
  readAnswer,
  requestThroughProxy,
  sendRequest,
  startRequest,
} from './mesh/http-client.ts';
export { expectNothingLeftOpen, type OpenResources, openResources } from './mesh/open-resources.ts';
export type { EchoHandler, MeshOptions, ServiceOptions } from './mesh/options.ts';
export { Recorder } from './mesh/recorder.ts';
export type { Mesh } from './mesh/start-mesh.ts';
export type { Workload } from './mesh/workload.ts';
export {
  type ScriptedClientOptions,
  ScriptedDeltaClient,
  type ScriptedNode,
  type ScriptedResponse,
  ScriptedSotwClient,
} from './scripted-xds-client.ts';
export { type SdsServer, startSdsServer } from './sds-server.ts';

/** See `Mesh`. Loaded when it is called: specs of the lower layers use this package for its clients and must not load the whole mesh. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const { startMesh: start } = await import('./mesh/start-mesh.ts');
  return start(options);
}
