export { forwardHeaders, TRACE_HEADERS, USER_HEADERS } from './forwarded-headers.ts';
export {
  createService,
  type Environment,
  type ListenAddress,
  listen,
  parseListenAddress,
  runServiceProcess,
  type ServiceProcess,
} from './service.ts';
