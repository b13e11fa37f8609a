export { packAny, typeUrlOf, unpackAny } from './any.ts';
export { grpcMethodDefinition, grpcServiceDefinition } from './grpc.ts';
export { xdsRegistry } from './registry.ts';
export { DISCOVERY_NAME, HEALTH_TYPE_URL, PUSH_ORDER, TYPE_URL, type TypeName, type TypeUrl } from './type-urls.ts';
export { resolveTypedStruct } from './typed-struct.ts';
export type { XdsConsumer, XdsRejection, XdsResource, XdsSubscription, XdsUpdate } from './update.ts';
