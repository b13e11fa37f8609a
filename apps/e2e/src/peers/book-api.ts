import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';

export interface BookApi extends AsyncDisposable {
  /** The authority that the certificate is from, PEM. */
  readonly ca: string;
}

export interface BookRequest {
  readonly host: string;
  readonly serverName: string;
  readonly url: string;
}

/** Where every book of this service was published. */
export const PUBLISHER = 'A Publisher From Outside';
const DAY_MS = 86_400_000;

/** An HTTPS server that answers as Google Books does, under a certificate for `host`. */
export async function startBookApi(options: { host: string; port: number; onRequest: (request: BookRequest) => void }): Promise<BookApi> {
  const { cert, key, ca } = await certificateFor(options.host);
  const server = createServer({ cert, key }, (request, response) => {
    options.onRequest({
      host: request.headers.host ?? '',
      serverName: String((request.socket as TLSSocket).servername),
      url: request.url ?? '',
    });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ items: [{ volumeInfo: volume }] }));
  });
  server.listen(options.port);
  await once(server, 'listening');
  return {
    ca,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const volume = {
  authors: ['William Shakespeare'],
  publishedDate: '2002',
  printType: 'BOOK',
  pageCount: 64,
  publisher: PUBLISHER,
  language: 'en',
  industryIdentifiers: [
    { type: 'ISBN_10', identifier: '0486424618' },
    { type: 'ISBN_13', identifier: '9780486424613' },
  ],
};

async function certificateFor(host: string): Promise<{ cert: string; key: string; ca: string }> {
  const now = Date.now();
  const root = await createSelfSignedRoot({ trustDomain: 'books.example', now });
  const issuer = { certificate: new X509Certificate(root.certificatePem), privateKey: createPrivateKey(root.privateKeyPem) };
  const { publicKey, privateKey } = await generateKeys();
  const cert = issueLeaf(issuer, {
    publicKey,
    names: { uris: [], dnsNames: [host], ipAddresses: [] },
    validity: { notBefore: now - DAY_MS, notAfter: now + DAY_MS },
  });
  return { cert, key: privateKeyToPem(privateKey), ca: root.certificatePem };
}
