import { type Clock, type Logger, MizzenError, type Running } from '@mizzen/core';
import { type KubernetesHome, startKubernetesSources } from './kubernetes-sources.ts';
import { startLocalSources } from './local-sources.ts';
import type { PipelineSources } from './pipeline.ts';
import type { ControlPlaneSettings } from './settings.ts';

export interface StartedSources extends Running {
  readonly sources: Omit<PipelineSources, 'registered'>;
  /** What controllers on Kubernetes work with; absent in the local home. */
  readonly kubernetes?: KubernetesHome;
}

/** Starts what the configuration comes from, and resolves once all of it was read: a directory, or a Kubernetes cluster. */
export function startSources(settings: ControlPlaneSettings, context: { clock: Clock; logger: Logger }): Promise<StartedSources> {
  const { kubernetes, config } = settings;
  if (kubernetes && config !== undefined)
    throw new MizzenError('MIZZEN_SETTINGS', '--kubernetes and --config exclude each other: the configuration comes from one of them');
  if (kubernetes && settings.rateLimitAddress !== undefined)
    throw new MizzenError('MIZZEN_SETTINGS', '--rate-limit-address is for other homes: on Kubernetes the rate limit service is a Service');
  if (kubernetes) return startKubernetesSources(settings, context);
  if (config === undefined)
    throw new MizzenError(
      'MIZZEN_SETTINGS',
      '--config (or MIZZEN_CONFIG_DIR) is required, or --kubernetes: where the configuration comes from',
    );
  return startLocalSources({ ...settings, config }, context);
}
