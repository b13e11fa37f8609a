import { MizzenError } from '@mizzen/core';
import { KINDS_OF_KUBERNETES, type KubeClient, type KubeObject } from '@mizzen/kube';
import type { KubeObject as Manifest } from '@mizzen/manifests';
import { type Patience, until } from './until.ts';
import { whyNotReady } from './why-not-ready.ts';

export interface DeploymentObject extends KubeObject {
  readonly spec: { readonly replicas?: number; readonly selector: { readonly matchLabels: Readonly<Record<string, string>> } };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
  };
}

export interface WaitOptions extends Patience {
  readonly message: (line: string) => void;
}

/**
 * Waits until every Deployment among the objects runs as it is written, with one line as each does. Throws MIZZEN_KUBERNETES after
 * `timeoutMs`, with the reason for each that does not.
 */
export async function waitUntilReady(client: KubeClient, objects: readonly Manifest[], options: WaitOptions): Promise<void> {
  const { clock, timeoutMs, message } = options;
  const startMs = clock.monotonic();
  const waiting = new Map(objects.filter(({ kind }) => kind === 'Deployment').map(({ metadata }) => [metadata.name, metadata]));
  const areReady = async (): Promise<boolean> => {
    for (const [name, metadata] of waiting) {
      const deployment = await client.find<DeploymentObject>(KINDS_OF_KUBERNETES.Deployment, metadata);
      if (!deployment || !isReady(deployment)) continue;
      waiting.delete(name);
      const seconds = Math.round((clock.monotonic() - startMs) / 1000);
      message(`${name}: ${deployment.status?.availableReplicas ?? 0} of ${deployment.spec.replicas ?? 1} ready (${seconds} s)`);
    }
    return waiting.size === 0;
  };
  await until(areReady, { clock, timeoutMs, tooLate: () => notReady(client, [...waiting.values()], timeoutMs) });
}

/** All pods are of the newest template and available, and no old one is left. Source: kubectl rollout status. */
export function isReady({ metadata, spec, status = {} }: DeploymentObject): boolean {
  const wanted = spec.replicas ?? 1;
  return (
    (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
    (status.updatedReplicas ?? 0) >= wanted &&
    (status.replicas ?? 0) === (status.updatedReplicas ?? 0) &&
    (status.availableReplicas ?? 0) >= wanted
  );
}

async function notReady(client: KubeClient, names: readonly Manifest['metadata'][], timeoutMs: number): Promise<MizzenError> {
  const reasons = await Promise.all(names.map((metadata) => whyNotReady(client, metadata)));
  return new MizzenError(
    'MIZZEN_KUBERNETES',
    `not ready after ${Math.round(timeoutMs / 1000)} s; what is applied stays, and the same command goes on from here:\n${reasons.flat().join('\n')}`,
  );
}
