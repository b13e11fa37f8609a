import { startLocalHome } from './homes/local-home.ts';
import { describeScenarios } from './scenarios/scenarios.ts';

describeScenarios({ title: 'in local processes', start: startLocalHome });
