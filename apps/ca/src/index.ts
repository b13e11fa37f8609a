export { caApp, type RunningCa, startCa } from './ca-app.ts';
export { type CaSettings, caSettings } from './settings.ts';
