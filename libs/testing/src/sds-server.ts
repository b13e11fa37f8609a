import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import type { Running } from '@mizzen/core';
import type { Svid } from '@mizzen/identity';
import { packAny, TYPE_URL } from '@mizzen/xds-api';
import { type Secret, SecretSchema } from '@mizzen/xds-api/envoy/extensions/transport_sockets/tls/v3/secret';
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from '@mizzen/xds-api/envoy/service/discovery/v3/discovery';

export interface SdsServer extends Running {
  readonly address: string;
}

type SecretStream = ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>;

/** Gives one SVID, as `default` and `ROOTCA`, to a stock Envoy: what an agent does for the Envoy beside it. */
export async function startSdsServer(svid: Svid): Promise<SdsServer> {
  const secrets = new Map([defaultSecret(svid), rootSecret(svid)].map((secret) => [secret.name, secret]));
  const server = new Server();
  const definition = {
    path: '/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets',
    requestStream: true,
    responseStream: true,
    requestSerialize: (request: DiscoveryRequest) => Buffer.from(toBinary(DiscoveryRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(DiscoveryRequestSchema, bytes),
    responseSerialize: (response: DiscoveryResponse) => Buffer.from(toBinary(DiscoveryResponseSchema, response)),
    responseDeserialize: (bytes: Buffer) => fromBinary(DiscoveryResponseSchema, bytes),
  };
  server.addService({ streamSecrets: definition }, { streamSecrets: (stream: SecretStream) => serve(stream, secrets) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (thrown, bound) => (thrown ? reject(thrown) : resolve(bound)));
  });
  return { address: `127.0.0.1:${port}`, close: async () => server.forceShutdown() };
}

function serve(stream: SecretStream, secrets: ReadonlyMap<string, Secret>): void {
  stream.on('error', () => stream.end());
  stream.on('end', () => stream.end());
  stream.on('data', ({ resourceNames, responseNonce }: DiscoveryRequest) => {
    // A request with a nonce acknowledges; the secrets never change.
    if (responseNonce !== '') return;
    const found = resourceNames.flatMap((name) => secrets.get(name) ?? []);
    stream.write(
      create(DiscoveryResponseSchema, {
        typeUrl: TYPE_URL.secret,
        versionInfo: '1',
        nonce: '1',
        resources: found.map((secret) => packAny(SecretSchema, secret)),
      }),
    );
  });
}

function defaultSecret({ certChainPem, privateKeyPem }: Svid): Secret {
  const value = { certificateChain: inline(certChainPem), privateKey: inline(privateKeyPem.reveal()) };
  return create(SecretSchema, { name: 'default', type: { case: 'tlsCertificate', value } });
}

function rootSecret({ trustBundlePem }: Svid): Secret {
  return create(SecretSchema, { name: 'ROOTCA', type: { case: 'validationContext', value: { trustedCa: inline(trustBundlePem) } } });
}

function inline(text: string): { specifier: { case: 'inlineString'; value: string } } {
  return { specifier: { case: 'inlineString', value: text } };
}
