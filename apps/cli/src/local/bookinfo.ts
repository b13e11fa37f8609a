import { join } from 'node:path';

/** A program that joins the mesh behind a sidecar of its own. */
export interface WorkloadDefinition {
  /** Also the name of its WorkloadGroup. */
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The service's port; the program itself listens on a socket that only its sidecar knows. */
  readonly port: number;
  readonly app: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The six workloads of Bookinfo, as deploy/samples/bookinfo/services registers them. */
export function bookinfoWorkloads(workspace: string): WorkloadDefinition[] {
  const staticFiles = { STATIC_DIR: join(workspace, 'apps', 'bookinfo', 'productpage', 'static') };
  return [
    workload('details', 'v1'),
    workload('ratings', 'v1'),
    workload('reviews', 'v1'),
    workload('reviews', 'v2'),
    workload('reviews', 'v3'),
    workload('productpage', 'v1', staticFiles),
  ];
}

const PORT = 9080;

function workload(service: string, version: string, env: Readonly<Record<string, string>> = {}): WorkloadDefinition {
  const name = `${service}-${version}`;
  return {
    name,
    namespace: 'default',
    serviceAccount: `bookinfo-${service}`,
    labels: { app: service, version },
    port: PORT,
    app: `bookinfo-${service}`,
    env: { SERVICE_VERSION: version, HOSTNAME: name, ...env },
  };
}
