export { type InjectorContext, injectorApp, type RunningInjector, startInjector } from './injector-app.ts';
export { type InjectorSettings, injectorSettings } from './settings.ts';
