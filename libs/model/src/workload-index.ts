import { type Labels, selects } from './labels.ts';
import type { EndpointMembership, Workload } from './workload.ts';

interface NamespaceWorkloads {
  readonly all: Workload[];
  byLabel: Map<string, Workload[]> | undefined;
}

/** A workload that a registry lists behind a service. */
export interface Member {
  readonly workload: Workload;
  readonly membership: EndpointMembership;
}

/** Workloads by namespace, by each label and by the services they are listed for, so that nothing has to look at all of them. */
export class WorkloadIndex {
  readonly #workloads: readonly Workload[];
  readonly #namespaces = new Map<string, NamespaceWorkloads>();
  #members: Map<string, Member[]> | undefined;

  constructor(workloads: readonly Workload[]) {
    this.#workloads = workloads;
    for (const workload of workloads) {
      const entry = this.#namespaces.get(workload.namespace);
      if (entry === undefined) this.#namespaces.set(workload.namespace, { all: [workload], byLabel: undefined });
      else entry.all.push(workload);
    }
  }

  select(namespace: string, selector: Labels): readonly Workload[] {
    const entry = this.#namespaces.get(namespace);
    if (entry === undefined) return [];
    entry.byLabel ??= indexByLabel(entry.all);
    let candidates: readonly Workload[] = entry.all;
    for (const key in selector) {
      const list = entry.byLabel.get(`${key}=${selector[key]}`) ?? [];
      if (list.length < candidates.length) candidates = list;
    }
    return candidates.filter((workload) => selects(selector, workload.labels));
  }

  /** Those that a registry lists behind the host. */
  membersOf(host: string): readonly Member[] {
    this.#members ??= indexByMembership(this.#workloads);
    return this.#members.get(host) ?? [];
  }
}

function indexByLabel(workloads: readonly Workload[]): Map<string, Workload[]> {
  const index = new Map<string, Workload[]>();
  for (const workload of workloads) for (const key in workload.labels) append(index, `${key}=${workload.labels[key]}`, workload);
  return index;
}

function indexByMembership(workloads: readonly Workload[]): Map<string, Member[]> {
  const index = new Map<string, Member[]>();
  for (const workload of workloads)
    for (const membership of workload.endpointOf ?? []) append(index, membership.host, { workload, membership });
  return index;
}

function append<V>(index: Map<string, V[]>, key: string, value: V): void {
  const list = index.get(key);
  if (list === undefined) index.set(key, [value]);
  else list.push(value);
}
