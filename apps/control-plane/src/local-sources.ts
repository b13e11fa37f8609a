import { type Clock, CloseStack, type Logger, type Running, Watchable } from '@mizzen/core';
import { defaultMeshConfig } from '@mizzen/mesh-api';
import { createCredentialSource, createFileSource, createMeshConfigSource } from '@mizzen/sources';
import { followMesh, withOverrides } from './mesh-input.ts';
import type { PipelineSources } from './pipeline.ts';
import { rateLimitRegistry } from './rate-limit-registry.ts';
import type { ControlPlaneSettings } from './settings.ts';

type LocalSettings = ControlPlaneSettings & { readonly config: string };
type Context = { readonly clock: Clock; readonly logger: Logger; readonly stack: CloseStack };

/** Directories and files, watched. Workloads register themselves. Throws MIZZEN_CONFIG_DIR. */
export async function startLocalSources(
  settings: LocalSettings,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<Running & { readonly sources: Omit<PipelineSources, 'registered'> }> {
  const stack = new CloseStack();
  const context = { clock, logger, stack };
  try {
    const config = stack.use(createFileSource({ clock, logger, directory: settings.config }));
    await config.start();
    const mesh = await startMeshConfig(settings, context);
    const credentials = await startCredentials(settings.credentials, context);
    const { clusterDomain: domain, rateLimitAddress } = settings;
    const registries = rateLimitAddress === undefined ? [] : [rateLimitRegistry(rateLimitAddress, { mesh, domain })];
    return { sources: { config: config.snapshot, mesh, credentials, domain, registries }, close: () => stack.close() };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

async function startMeshConfig(settings: LocalSettings, { clock, logger, stack }: Context): Promise<PipelineSources['mesh']> {
  if (settings.meshConfig === undefined) return new Watchable({ mesh: withOverrides(defaultMeshConfig(), settings), diagnostics: [] });
  const source = stack.use(createMeshConfigSource({ clock, logger, file: settings.meshConfig }));
  await source.start();
  return followMesh(source, settings);
}

async function startCredentials(directory: string | undefined, { clock, logger, stack }: Context): Promise<PipelineSources['credentials']> {
  if (directory === undefined) return new Watchable({ credentials: new Map(), diagnostics: [] });
  const source = stack.use(createCredentialSource({ clock, logger, directory }));
  await source.start();
  return source.snapshot;
}
