import { Html } from './html.ts';

export interface Product {
  readonly id: number;
  readonly title: string;
  /** Trusted markup. */
  readonly descriptionHtml: string;
}

export const THE_COMEDY_OF_ERRORS: Product = {
  id: 0,
  title: 'The Comedy of Errors',
  descriptionHtml:
    '<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">Wikipedia Summary</a>: two pairs of identical twins, parted as ' +
    'babies in a shipwreck, come to the same town without knowing of each other. One of <b>William Shakespeare’s</b> first plays and ' +
    'his shortest: within a day everybody is taken for somebody else, and no door, chain or dinner ends up with whom it was meant for.',
};

export const PRODUCTS: readonly Product[] = [THE_COMEDY_OF_ERRORS];

export function productDescription(product: Product): Html {
  return new Html(product.descriptionHtml);
}
