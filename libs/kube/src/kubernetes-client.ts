// What is used of the library, and nothing else of it: bundled, this is a module of its own that only who reads a kubeconfig loads. Reach it by
// `import()` alone (apps/cli/src/launch/bundles.ts).
export { KubeConfig } from '@kubernetes/client-node';
