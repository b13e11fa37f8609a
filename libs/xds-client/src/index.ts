export { createXdsClient, type XdsClient, type XdsClientOptions, type XdsClientState } from './xds-client.ts';
