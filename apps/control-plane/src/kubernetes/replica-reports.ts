import { isDeepStrictEqual } from 'node:util';
import { type Diagnostic, errorMessage, joinHostPort, type Running, Watchable } from '@mizzen/core';
import { createReconciler, createReflector, KINDS_OF_KUBERNETES } from '@mizzen/kube';
import { resourceKey } from '@mizzen/mesh-api';
import { type ConfiguredResource, generationOf } from '../resource-status.ts';
import type { ControllerContext } from './controllers.ts';

/** What one control plane knows of its own proxies, for the one that writes the status of resources. */
export interface AppliedReport {
  /** Connected to it. */
  readonly proxies: number;
  /** By kind, namespace and name: the generation that it has in force, and how many of its proxies acknowledged that. */
  readonly resources: Readonly<Record<string, readonly [generation: number, appliedTo: number]>>;
  /** What its proxies refused. */
  readonly rejections: readonly Diagnostic[];
}

export const APPLIED_PATH = '/debug/appliedz';
const CONTROL_PLANES = 'app=istiod';
const ASK_EVERY_MS = 2_000;
const TIMEOUT_MS = 2_000;
/** A control plane that does not answer for so long is taken as gone: its proxies will come to another one. */
const FORGET_AFTER_MS = 10_000;

export function appliedReportOf(resources: readonly ConfiguredResource[], proxies: number): AppliedReport {
  const counts = resources.map((resource) => [resourceKey(refOf(resource)), [generationOf(resource), resource.status.appliedTo]] as const);
  const rejections = resources.flatMap(({ status }) => status.diagnostics.filter(({ code }) => code === 'xds-rejected'));
  return { proxies, resources: Object.fromEntries(counts), rejections };
}

/** The resources with the proxies of the other control planes counted in. One that has another generation in force has it nowhere yet. */
export function withReports(resources: readonly ConfiguredResource[], reports: readonly AppliedReport[]): readonly ConfiguredResource[] {
  if (reports.length === 0) return resources;
  const elsewhere = reports.reduce((sum, { proxies }) => sum + proxies, 0);
  return resources.map((resource) => {
    const key = resourceKey(refOf(resource));
    const applied = reports.map((report) => report.resources[key]).map((known) => (known?.[0] === generationOf(resource) ? known[1] : 0));
    const rejections = reports.flatMap((report) => report.rejections.filter(({ resource: ref }) => ref && resourceKey(ref) === key));
    const { status } = resource;
    return {
      ...resource,
      status: {
        accepted: status.accepted && !rejections.some(({ severity }) => severity === 'error'),
        diagnostics: [...status.diagnostics, ...rejections],
        appliedTo: status.appliedTo + applied.reduce((sum, count) => sum + count, 0),
        ofProxies: status.ofProxies + elsewhere,
      },
    };
  });
}

/** Asks the other control planes of the namespace, every two seconds, what their proxies have. */
export function followReplicas(
  context: ControllerContext & { readonly podName: string; readonly debugPort: number },
): Running & { readonly reports: Watchable<readonly AppliedReport[]> } {
  const { client, namespace, podName, debugPort, clock, logger } = context;
  const peers = createReflector<string>({
    client,
    logger,
    kind: KINDS_OF_KUBERNETES.Pod,
    namespace,
    labelSelector: CONTROL_PLANES,
    keep: ({ metadata, ...pod }) => (metadata.name === podName ? undefined : addressOf(pod)),
  });
  const answers = new Map<string, { readonly report: AppliedReport; readonly at: number }>();
  const reports = new Watchable<readonly AppliedReport[]>([], isDeepStrictEqual);
  const reconcile = async ({ signal }: { signal: AbortSignal }): Promise<void> => {
    const known = peers.objects.value;
    await Promise.all(
      [...known].map(async ([name, address]) => {
        const report = await ask(`http://${joinHostPort(address, debugPort)}${APPLIED_PATH}`, signal);
        if (typeof report === 'string')
          logger.debug({ controlPlane: name, reason: report }, 'a control plane does not say what its proxies have');
        else answers.set(name, { report, at: clock.monotonic() });
      }),
    );
    for (const [name, { at }] of answers) if (!known.has(name) || clock.monotonic() - at > FORGET_AFTER_MS) answers.delete(name);
    reports.set([...answers.values()].map(({ report }) => report));
  };
  const reconciler = createReconciler({
    ...context,
    reconcile,
    dependsOn: [peers.objects],
    everyMs: ASK_EVERY_MS,
    failure: 'the other control planes are not asked',
  });
  peers.start();
  reconciler.trigger();
  return {
    reports,
    async close() {
      await reconciler.close();
      await peers.close();
    },
  };
}

/** Its report, or why there is none. */
async function ask(url: string, closing: AbortSignal): Promise<AppliedReport | string> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([closing, AbortSignal.timeout(TIMEOUT_MS)]) });
    if (!response.ok) return `status ${response.status}`;
    return (await response.json()) as AppliedReport;
  } catch (thrown) {
    return errorMessage(thrown);
  }
}

function addressOf(pod: Readonly<Record<string, unknown>>): string | undefined {
  const { podIP, phase } = (pod['status'] ?? {}) as { podIP?: string; phase?: string };
  return phase === 'Running' ? podIP : undefined;
}

function refOf({ kind, metadata }: ConfiguredResource): { kind: string; namespace: string; name: string } {
  return { kind, namespace: metadata.namespace, name: metadata.name };
}
