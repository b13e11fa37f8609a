export { describeOnKubernetes } from './describe-on-kubernetes.ts';
export { eventually } from './eventually.ts';
export { createFakeApiServer, type FakeApiServer, type FakeApiServerOptions, type SeenRequest } from './fake-api-server.ts';
