/** What a client says of one coding: `gzip;q=0.5`. */
interface AcceptedCoding {
  readonly coding: string;
  readonly quality: number;
}

export type CodingChoice =
  | { readonly kind: 'coding' | 'wildcard'; readonly coding: string }
  /** As it is: because the client prefers it, or says nothing that can be had. */
  | { readonly kind: 'identity' | 'not-valid' };

/**
 * The coding that a client likes best of those on offer: the first that it names with the highest quality; `preferred` wins where it is
 * liked as much; for `*` the first on offer.
 * Source: RFC 9110 §12.5.3; envoy CompressorFilter::chooseEncoding (1.40).
 */
export function chooseCoding(
  acceptEncoding: string,
  { offered, preferred }: { readonly offered: readonly string[]; readonly preferred?: string | undefined },
): CodingChoice {
  let best: AcceptedCoding = { coding: 'identity', quality: 0 };
  for (const accepted of parse(acceptEncoding)) {
    const isKnown = accepted.coding === 'identity' || accepted.coding === '*' || offered.includes(accepted.coding);
    const isPreferred = accepted.coding === preferred && accepted.quality > 0 && accepted.quality === best.quality;
    if (isKnown && (accepted.quality > best.quality || isPreferred)) best = accepted;
  }
  if (best.quality <= 0) return { kind: 'not-valid' };
  if (best.coding === 'identity') return { kind: 'identity' };
  if (best.coding !== '*') return { kind: 'coding', coding: best.coding };
  const [first] = offered;
  return first === undefined ? { kind: 'not-valid' } : { kind: 'wildcard', coding: first };
}

/** Parts that cannot be read are left out. */
function parse(acceptEncoding: string): AcceptedCoding[] {
  return acceptEncoding.split(',').flatMap((part) => {
    const [coding = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    const q = parameters.find((parameter) => /^q *=/.test(parameter));
    const quality = q === undefined ? 1 : Number(q.slice(q.indexOf('=') + 1).trim() || Number.NaN);
    return coding === '' || Number.isNaN(quality) ? [] : [{ coding, quality }];
  });
}

/** Adds a coding with the highest quality; other parts stay as they are. Source: envoy HeaderUtility::addEncodingToAcceptEncoding (1.40). */
export function addAcceptedCoding(acceptEncoding: string | undefined, coding: string): string {
  const others = (acceptEncoding ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '' && part.split(';')[0]?.trim().toLowerCase() !== coding);
  return [...others, coding].join(',');
}
