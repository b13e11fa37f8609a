export { sidecarApp, sidecarSettings } from './sidecar-app.ts';
