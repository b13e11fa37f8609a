import { Watchable } from '@mizzen/core';
import type { MeshConfig } from '@mizzen/mesh-api';
import type { MeshConfigSource } from '@mizzen/sources';
import type { MeshInput } from './pipeline.ts';
import type { ControlPlaneSettings } from './settings.ts';

/** The mesh's configuration as its source has it, with what the command line says before it. */
export function followMesh({ snapshot }: Pick<MeshConfigSource, 'snapshot'>, settings: Overrides): Watchable<MeshInput> {
  const read = (): MeshInput => ({ mesh: withOverrides(snapshot.value.meshConfig, settings), diagnostics: snapshot.value.diagnostics });
  const mesh = new Watchable(read());
  snapshot.watch(() => mesh.set(read()));
  return mesh;
}

type Overrides = Pick<ControlPlaneSettings, 'trustDomain' | 'rootNamespace'>;

export function withOverrides(mesh: MeshConfig, { trustDomain, rootNamespace }: Overrides): MeshConfig {
  return { ...mesh, ...(trustDomain !== undefined && { trustDomain }), ...(rootNamespace !== undefined && { rootNamespace }) };
}
