export { runCli } from './cli.ts';
export { type Home, homeAt } from './home.ts';
export { type Bundles, bundleFile, ensureBundles } from './launch/bundles.ts';
export { type MeshAddresses, type MeshState, readState } from './local/state.ts';
