export type { ServerCredentials } from '@grpc/grpc-js';
export { type DebounceOptions, Debouncer } from './debounce.ts';
export { contentVersion, EncodedResource, encodeResource } from './encoded-resource.ts';
export type { ConnectedNode, ConnectionStatus, DiscoveryState, DiscoveryStatus, PushedResponse, XdsServerEvents } from './events.ts';
export type { GenerateRequest, XdsGenerator } from './generator.ts';
export { NameSet } from './name-set.ts';
export { internResourceSet, ResourceSet } from './resource-set.ts';
export { createXdsServer, muteGrpcLog, type PushChange, type XdsServer, type XdsServerOptions } from './server.ts';
export type { Authorize, Identify } from './stream.ts';
