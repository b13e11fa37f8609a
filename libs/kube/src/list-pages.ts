import type { KubeClient, KubeKind, KubeObject, ListOptions } from './contract.ts';
import { acceptOf, collectionPath, selectorQuery } from './paths.ts';

// As large as client-go's pager.
const PAGE_SIZE = 500;

export interface ListPage {
  readonly items: readonly KubeObject[];
  /** What a watch goes on from after the last page; all pages have the same. */
  readonly resourceVersion: string;
}

interface ListAnswer {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly KubeObject[] | null;
}

/** All objects of a kind, a page at a time. Rejects with `Expired` where the pages took so long that the server forgot the first: start again. */
export async function* listPages(
  client: Pick<KubeClient, 'request'>,
  kind: KubeKind,
  options: ListOptions & { readonly signal?: AbortSignal },
): AsyncGenerator<ListPage> {
  let next = '';
  do {
    const answer = await client.request<ListAnswer>({
      method: 'GET',
      path: collectionPath(kind, options.namespace),
      query: { ...selectorQuery(options), limit: String(PAGE_SIZE), ...(next !== '' && { continue: next }) },
      ...acceptOf(options, 'list'),
      ...(options.signal && { signal: options.signal }),
    });
    next = answer.metadata?.continue ?? '';
    // Items of Kubernetes' own kinds come without their type.
    const items = (answer.items ?? []).map((item) => ({ ...item, apiVersion: kind.apiVersion, kind: kind.kind }));
    yield { items, resourceVersion: answer.metadata?.resourceVersion ?? '' };
  } while (next !== '');
}
