import type { Duplex } from 'node:stream';
import type { Logger, Running } from '@mizzen/core';
import { type AccessOptions, findAccess } from './access.ts';
import type { KubeClient, KubeName, RequestOptions } from './contract.ts';
import { createKubeClient } from './kube-client.ts';
import { openPortForward } from './port-forward.ts';
import { openStream, Transport } from './transport.ts';

export interface ConnectOptions extends AccessOptions {
  readonly logger?: Logger;
}

/** A client that holds connections until it is closed; idle ones do not keep the process alive. */
export interface ConnectedKubeClient extends KubeClient, Running {
  /** Namespace of the kubeconfig's context or of the pod. Default `default`. */
  readonly namespace: string;
  /** An answer that is read as it comes: a log that is followed. Ends with the signal. */
  stream(options: RequestOptions): Promise<AsyncIterable<Buffer>>;
  /** A connection to a port of a pod, its loopback included. It ends with an error where nothing listens there. */
  portForward(pod: KubeName, port: number): Promise<Duplex>;
}

/**
 * A client of the cluster: the kubeconfig that is named, or KUBECONFIG, or the service account of the pod, or ~/.kube/config. Credentials that
 * are renewed (mounted tokens, plugins) are picked up. Asks nothing yet. Throws MIZZEN_KUBERNETES where no configuration can be used.
 */
export async function connectKubernetes(options: ConnectOptions = {}): Promise<ConnectedKubeClient> {
  const source = await findAccess(options);
  const transport = new Transport(source);
  options.logger?.debug({ server: transport.server }, 'Kubernetes API found');
  return {
    ...createKubeClient(transport),
    namespace: source.namespace,
    stream: (request) => openStream(transport, request),
    portForward: (pod, port) => openPortForward(transport, pod, port),
    close: () => transport.close(),
  };
}
