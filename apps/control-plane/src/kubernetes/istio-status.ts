import { DIAGNOSTIC_CODES, type Diagnostic, formatPath } from '@mizzen/core';
import type { ResourceStatus } from '../resource-status.ts';

/** `status` of Istio's kinds. Source: istio.io/api meta/v1alpha1 IstioStatus and analysis/v1alpha1 AnalysisMessageBase (1.32). */
export interface IstioStatus {
  readonly observedGeneration: number;
  readonly validationMessages: readonly ValidationMessage[];
  readonly conditions: readonly StatusCondition[];
}

interface ValidationMessage {
  readonly type: { readonly name: string; readonly code: string };
  readonly level: 'ERROR' | 'WARNING' | 'INFO';
  readonly documentationUrl?: string;
  /** What is wrong and where; Istio leaves it to its analyzers. */
  readonly message: string;
}

export interface StatusCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

const RECONCILED = 'Reconciled';
const DOCUMENTATION = 'https://istio.io/latest/docs/reference/config/analysis/';

/** The status to write: pure. `before` is what is written now; conditions of others stay, and a transition keeps its time. */
export function istioStatusOf(
  status: ResourceStatus,
  about: { generation: number; before: Readonly<Record<string, unknown>> | undefined; now: number },
): IstioStatus {
  const present = conditionsOf(about.before);
  const wanted = reconciledCondition(status);
  const known = present.find(({ type }) => type === RECONCILED);
  const lastTransitionTime =
    known?.status === wanted.status && known.lastTransitionTime !== undefined
      ? known.lastTransitionTime
      : new Date(about.now).toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    observedGeneration: about.generation,
    validationMessages: status.diagnostics.map(validationMessageOf),
    conditions: [...present.filter(({ type }) => type !== RECONCILED), { ...wanted, lastTransitionTime }],
  };
}

/** Whether writing would change anything that matters; key order does not. */
export function isSameStatus(before: Readonly<Record<string, unknown>> | undefined, status: IstioStatus): boolean {
  if (before === undefined) return false;
  return (
    Number(before['observedGeneration']) === status.observedGeneration &&
    isSameMessages(before['validationMessages'] ?? [], status.validationMessages) &&
    canonical(before['conditions'] ?? []) === canonical(status.conditions)
  );
}

// The CRDs of other installations know no `message`, and the API server drops it.
function isSameMessages(before: unknown, messages: readonly ValidationMessage[]): boolean {
  const withoutTexts = messages.map(({ message: _, ...others }) => others);
  return [messages, withoutTexts].some((wanted) => canonical(before) === canonical(wanted));
}

function reconciledCondition({ accepted, appliedTo, ofProxies, diagnostics }: ResourceStatus): StatusCondition {
  const message = `applied to ${appliedTo} of ${ofProxies} proxies`;
  if (!accepted) {
    const [first] = diagnostics.filter(({ severity }) => severity === 'error');
    return { type: RECONCILED, status: 'False', reason: 'Rejected', message: first ? textOf(first) : message };
  }
  const isEverywhere = appliedTo >= ofProxies;
  return { type: RECONCILED, status: isEverywhere ? 'True' : 'False', reason: isEverywhere ? 'Applied' : 'Waiting', message };
}

function validationMessageOf(diagnostic: Diagnostic): ValidationMessage {
  const { code, severity } = diagnostic;
  const level = { error: 'ERROR', warning: 'WARNING', info: 'INFO' } as const;
  return {
    type: { name: DIAGNOSTIC_CODES[code], code },
    level: level[severity],
    ...(code.startsWith('IST') && { documentationUrl: `${DOCUMENTATION}${code.toLowerCase()}/` }),
    message: textOf(diagnostic),
  };
}

function textOf({ path, message }: Diagnostic): string {
  return path && path.length > 0 ? `${formatPath(path)}: ${message}` : message;
}

function conditionsOf(before: Readonly<Record<string, unknown>> | undefined): readonly StatusCondition[] {
  const conditions = before?.['conditions'];
  return Array.isArray(conditions) ? (conditions as StatusCondition[]) : [];
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
