import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { createSelfSignedRoot, generateKeys, issueLeaf, privateKeyToPem } from '@mizzen/identity';

export interface BookApi extends AsyncDisposable {
  readonly httpsPort: number;
  /** The authority that the certificate is from, as a file. */
  readonly caFile: string;
  readonly publisher: string;
  readonly requests: readonly { readonly host: string; readonly serverName: string; readonly url: string }[];
}

const PUBLISHER = 'A Publisher From Outside';
const DAY_MS = 86_400_000;

/** An HTTPS server on this machine that answers as Google Books does, under a certificate for `host`. */
export async function startBookApi(host: string): Promise<BookApi> {
  const folder = mkdtempSync(path.join(tmpdir(), 'mizzen-books-'));
  const requests: { host: string; serverName: string; url: string }[] = [];
  const { cert, key, ca } = await certificateFor(host);
  const caFile = path.join(folder, 'ca.pem');
  writeFileSync(caFile, ca);
  const server = createServer({ cert, key }, (request, response) => {
    requests.push({
      host: request.headers.host ?? '',
      serverName: String((request.socket as TLSSocket).servername),
      url: request.url ?? '',
    });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ items: [{ volumeInfo: volume }] }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    httpsPort: (server.address() as AddressInfo).port,
    caFile,
    publisher: PUBLISHER,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(folder, { recursive: true, force: true });
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
