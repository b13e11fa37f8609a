import { startKubernetesHome } from './homes/kubernetes-home.ts';
import { isClusterPresent } from './kubernetes/cluster.ts';
import { describeScenarios } from './scenarios/scenarios.ts';

describeScenarios({
  title: 'on Kubernetes (needs kubernetes)',
  start: startKubernetesHome,
  isAvailable: isClusterPresent,
  startTimeoutMs: 420_000,
});
