/**
 * A place where the mesh runs with Bookinfo in it, as the scenarios see it. Every scenario runs in each home through this interface alone;
 * what a home has to do differently (how a program gets a sidecar, how its calls are captured) is the home's own business.
 */
export interface Home extends AsyncDisposable {
  readonly name: 'local' | 'compose' | 'kubernetes';
  /** Where the ingress gateway's port 80 answers: `http://127.0.0.1:8080`, without a slash at the end. */
  readonly gatewayUrl: string;
  /** Creates or updates resources and resolves once every proxy has acknowledged them. */
  apply(yaml: string): Promise<void>;
  /** Removes the resources that a text names, where they are there, and resolves once every proxy has acknowledged that. */
  delete(yaml: string): Promise<void>;
  /** `mizzen proxy-config SECTION WORKLOAD -o json`. A workload is named as Bookinfo's Deployments are: `productpage-v1`. */
  proxyConfig(section: string, workload: string): Promise<string>;
  /** What a workload's sidecar has logged so far, access log included. */
  sidecarLog(workload: string): Promise<string>;
  /** Starts a program in the mesh behind a sidecar of its own; resolves once it takes requests. */
  startProgram(program: MeshProgram): Promise<RunningMeshProgram>;
  /** Starts a peer that is no part of the mesh, where the mesh's proxies can reach it. */
  startOutside(program: OutsideProgram): Promise<RunningOutside>;
  /** Where a program has to connect to reach a TCP service of the mesh from namespace `default`. */
  tcpTarget(target: TcpTarget): Promise<TcpAddress>;
  /** Path at which the sidecar of a program sees what it was given in `sidecarFiles` under `name`. */
  sidecarFilePath(name: string): string;
}

/** What runs: a service of the sample in one version, or a peer of src/peers. */
export type ProgramKind = { readonly sample: 'details' | 'ratings'; readonly version: string } | { readonly peer: PeerName };

export type PeerName = 'mysql' | 'books' | 'acme-solver' | 'greeter';

export interface MeshProgram {
  readonly runs: ProgramKind;
  /** Labels app and version, and the name of its service. */
  readonly service: string;
  readonly version: string;
  /** Default `default`. */
  readonly namespace?: string;
  /** Of the service and, but in the local home, of the program. */
  readonly port: number;
  /** Default HTTP. */
  readonly protocol?: 'HTTP' | 'TCP' | 'GRPC';
  readonly serviceAccount?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Text files for its sidecar, by name. */
  readonly sidecarFiles?: Readonly<Record<string, string>>;
}

/** Disposing of it ends it and takes back what the home wrote for it. */
export interface RunningProgram extends AsyncDisposable {
  /** What the program itself has written to standard output so far. */
  output(): Promise<string>;
}

/** A program with a sidecar. */
export interface RunningMeshProgram extends RunningProgram {
  /** What its sidecar has logged so far, access log included. */
  sidecarLog(): Promise<string>;
  /** What its sidecar has counted so far, in Prometheus' text format. */
  sidecarMetrics(): Promise<string>;
}

export interface OutsideProgram {
  readonly peer: PeerName;
}

export interface RunningOutside extends RunningProgram {
  readonly address: string;
  readonly port: number;
}

export interface TcpTarget {
  readonly service: string;
  readonly port: number;
  /** Who connects, by its labels app and version. */
  readonly from: { readonly app: string; readonly version: string };
}

export interface TcpAddress extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
}
