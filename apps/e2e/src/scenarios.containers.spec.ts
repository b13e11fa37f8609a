import { startComposeHome } from './homes/compose-home.ts';
import { hasContainers } from './homes/containers.ts';
import { describeScenarios } from './scenarios/scenarios.ts';

describeScenarios({
  title: 'in docker compose (needs containers)',
  start: startComposeHome,
  isAvailable: hasContainers(),
  startTimeoutMs: 300_000,
  patience: 3,
});
