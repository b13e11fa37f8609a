import { type Clock, CloseStack, type Logger, type Running, Watchable } from '@mizzen/core';
import { defaultMeshConfig, type MeshConfig } from '@mizzen/mesh-api';
import { createCredentialSource, createFileSource, createMeshConfigSource } from '@mizzen/sources';
import type { PipelineSources } from './pipeline.ts';
import type { ControlPlaneSettings } from './settings.ts';

type Context = { readonly clock: Clock; readonly logger: Logger; readonly stack: CloseStack };

/** Starts what the configuration comes from and resolves once all of it was read. Throws MIZZEN_CONFIG_DIR. */
export async function startSources(
  settings: ControlPlaneSettings,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<Running & { readonly sources: Omit<PipelineSources, 'registered'> }> {
  const stack = new CloseStack();
  const context = { clock, logger, stack };
  try {
    const config = stack.use(createFileSource({ clock, logger, directory: settings.config }));
    await config.start();
    const mesh = await startMeshConfig(settings, context);
    const credentials = await startCredentials(settings.credentials, context);
    return { sources: { config: config.snapshot, mesh, credentials }, close: () => stack.close() };
  } catch (thrown) {
    await stack.close();
    throw thrown;
  }
}

async function startMeshConfig(settings: ControlPlaneSettings, { clock, logger, stack }: Context): Promise<PipelineSources['mesh']> {
  if (settings.meshConfig === undefined) return new Watchable({ mesh: withOverrides(defaultMeshConfig(), settings), diagnostics: [] });
  const { snapshot, start, close } = createMeshConfigSource({ clock, logger, file: settings.meshConfig });
  stack.defer(close);
  await start();
  const read = () => ({ mesh: withOverrides(snapshot.value.meshConfig, settings), diagnostics: snapshot.value.diagnostics });
  const mesh = new Watchable(read());
  snapshot.watch(() => mesh.set(read()));
  return mesh;
}

/** What the command line says comes before what the file says. */
function withOverrides(mesh: MeshConfig, { trustDomain, rootNamespace }: ControlPlaneSettings): MeshConfig {
  return { ...mesh, ...(trustDomain !== undefined && { trustDomain }), ...(rootNamespace !== undefined && { rootNamespace }) };
}

async function startCredentials(directory: string | undefined, { clock, logger, stack }: Context): Promise<PipelineSources['credentials']> {
  if (directory === undefined) return new Watchable({ credentials: new Map(), diagnostics: [] });
  const source = stack.use(createCredentialSource({ clock, logger, directory }));
  await source.start();
  return source.snapshot;
}
