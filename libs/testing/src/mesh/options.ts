import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Credential } from '@mizzen/sources';

/** Answers a request in place of the echo. `echo` answers as it would have been without a handler. */
export type EchoHandler = (exchange: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly workload: string;
  readonly echo: () => void;
}) => void;

/** One service of the mesh: its ServiceEntry and, for each version, a WorkloadGroup, a program, an agent and a proxy. */
export interface ServiceOptions {
  /** Default `default`. */
  readonly namespace?: string;
  /** A workload `<service>-<version>` for each. Default `['v1']`. */
  readonly versions?: readonly string[];
  /** Default 9080. */
  readonly port?: number;
  /** Default `HTTP`: an HTTP program that echoes. `TCP`: one that greets with its name and echoes bytes. */
  readonly protocol?: 'HTTP' | 'TCP';
  /** Default: the service's name. */
  readonly serviceAccount?: string;
  readonly handler?: EchoHandler;
}

export interface MeshOptions {
  readonly services: Readonly<Record<string, ServiceOptions>>;
  /** Istio resources as YAML; namespace `default` where none is given. */
  readonly config?: string;
  /** meshConfig as YAML. */
  readonly meshConfig?: string;
  /** An ingress gateway (labels `istio: ingressgateway`). Default: none. */
  readonly hasGateway?: boolean;
  /** A CA, so that workloads have identities and speak mutual TLS. Default true. */
  readonly hasIdentity?: boolean;
  /** What `credentialName` of a Gateway names. */
  readonly credentials?: ReadonlyMap<string, Credential>;
  /** `host:port` of a collector, see AgentOptions. */
  readonly telemetryAddress?: string;
}
