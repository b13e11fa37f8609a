import type { IncomingHttpHeaders } from 'node:http';
import { forwardHeaders, TRACE_HEADERS } from '@mizzen/bookinfo-common';

export interface BookDetails {
  readonly id: number;
  readonly author: string;
  readonly year: number | string;
  readonly type: string;
  readonly pages: number;
  readonly publisher: string;
  readonly language: string;
  readonly 'ISBN-10': string;
  readonly 'ISBN-13': string;
}

export interface ExternalBookService {
  /** Scheme, host and port, as `http://www.googleapis.com`. */
  readonly origin: string;
  readonly timeoutMs: number;
}

/** What of a Google Books volume is read. Source: developers.google.com/books/docs/v1/reference/volumes. */
interface VolumeInfo {
  readonly authors?: readonly string[];
  readonly publishedDate?: string;
  readonly printType?: string;
  readonly pageCount?: number;
  readonly publisher?: string;
  readonly language?: string;
  readonly industryIdentifiers?: readonly { readonly type: string; readonly identifier: string }[];
}

/** An edition of The Comedy of Errors whose only author is Shakespeare. */
const ISBN = '0486424618';

/** Looks the book up. Throws an `Error` that says why when the service cannot be reached, fails or knows no such book. */
export async function fetchBookDetails(
  service: ExternalBookService,
  productId: number,
  incoming: IncomingHttpHeaders,
): Promise<BookDetails> {
  return toBookDetails(productId, await fetchVolume(service, incoming));
}

async function fetchVolume(service: ExternalBookService, incoming: IncomingHttpHeaders): Promise<VolumeInfo> {
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(`${service.origin}/books/v1/volumes?q=isbn:${ISBN}`, {
      // Unlike the original's: who asks, and the caller's credentials, are none of a third party's business.
      headers: { ...forwardHeaders(incoming, TRACE_HEADERS), connection: 'close' },
      signal: AbortSignal.timeout(service.timeoutMs),
    });
    body = await response.json();
  } catch (error) {
    throw new Error(`could not fetch the book from ${service.origin}: ${describe(error)}`);
  }
  if (!response.ok) throw new Error(`could not fetch the book from ${service.origin}: it answered ${response.status}`);
  const volume = (body as { items?: readonly { volumeInfo?: VolumeInfo }[] } | null)?.items?.[0]?.volumeInfo;
  if (!volume) throw new Error(`${service.origin} knows no book with ISBN ${ISBN}`);
  return volume;
}

function toBookDetails(productId: number, volume: VolumeInfo): BookDetails {
  return {
    id: productId,
    author: volume.authors?.[0] ?? 'unknown',
    year: volume.publishedDate ?? 'unknown',
    type: volume.printType === 'BOOK' ? 'paperback' : 'unknown',
    pages: volume.pageCount ?? 0,
    publisher: volume.publisher ?? 'unknown',
    language: volume.language === 'en' ? 'English' : 'unknown',
    'ISBN-10': findIsbn(volume, 'ISBN_10'),
    'ISBN-13': findIsbn(volume, 'ISBN_13'),
  };
}

function findIsbn(volume: VolumeInfo, type: string): string {
  return volume.industryIdentifiers?.find((identifier) => identifier.type === type)?.identifier ?? 'unknown';
}

/** `fetch` hides the reason of a failed connection in `cause`. */
function describe(error: unknown): string {
  const { name, message, cause } = error as Error & { cause?: { code?: string; message?: string } };
  return name === 'TimeoutError' ? 'no answer in time' : (cause?.code ?? cause?.message ?? message);
}
