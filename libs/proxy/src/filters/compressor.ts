import { CompressorPerRouteSchema, CompressorSchema } from '@mizzen/xds-api/envoy/extensions/filters/http/compressor/v3/compressor';
import type { HeaderMap } from '../http/headers.ts';
import {
  defineHttpFilter,
  type FilterDecision,
  type FilterEnvironment,
  type HttpFilter,
  type HttpFilterKind,
} from '../http/http-filter.ts';
import type { HttpStream } from '../http/http-stream.ts';
import type { ResponseHead } from '../http/stream.ts';
import { type Counts, defineStats } from '../observe/stat-registry.ts';
import { chooseCoding } from './accept-encoding.ts';
import {
  type CompressedDirection,
  type CompressorConfig,
  type CompressorOverride,
  compileCompressorConfig,
  compileCompressorOverride,
} from './compressor-config.ts';
import { FLUSH_KIND, ZlibBody } from './zlib-body.ts';

const STATS = defineStats({
  counters: {
    compressed: 'compressed',
    notCompressed: 'not_compressed',
    totalUncompressedBytes: 'total_uncompressed_bytes',
    totalCompressedBytes: 'total_compressed_bytes',
    contentLengthTooSmall: 'content_length_too_small',
  },
});
const RESPONSE_STATS = defineStats({
  counters: {
    noAcceptHeader: 'no_accept_header',
    headerIdentity: 'header_identity',
    headerCompressorUsed: 'header_compressor_used',
    headerCompressorOvershadowed: 'header_compressor_overshadowed',
    headerWildcard: 'header_wildcard',
    headerNotValid: 'header_not_valid',
    notCompressedEtag: 'not_compressed_etag',
  },
});

export const compressorFilter: HttpFilterKind = defineHttpFilter({
  schema: CompressorSchema,
  create(message, field, environment) {
    const config = compileCompressorConfig(message, field, environment.context.runtimeValues);
    return config && new CompressorFilter(config, environment);
  },
  perRoute: { schema: CompressorPerRouteSchema, compile: compileCompressorOverride },
});

/** Compresses bodies for those who take it. Source: Envoy, Compressor filter (1.40). */
class CompressorFilter implements HttpFilter {
  readonly config: CompressorConfig;
  readonly #key: string;
  readonly #requestStats: Counts<typeof STATS>;
  readonly #stats: Counts<typeof STATS>;
  readonly #responseStats: Counts<typeof RESPONSE_STATS>;

  constructor(config: CompressorConfig, environment: FilterEnvironment) {
    this.config = config;
    this.#key = environment.routeKey(CompressorPerRouteSchema);
    const { context, statPrefix } = environment;
    const base = `http.${statPrefix}.compressor.${config.library.statName}`;
    const scope = (prefix: string) => ({ prefix, tags: [['envoy.http_conn_manager_prefix', statPrefix]] as const });
    const responseScope = scope(config.countsByDirection ? `${base}.response` : base);
    this.#requestStats = context.stats.counts(STATS, scope(`${base}.request`));
    this.#stats = context.stats.counts(STATS, responseScope);
    // These are of responses anyway.
    this.#responseStats = context.stats.counts(RESPONSE_STATS, scope(base));
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { head } = stream.info;
    const override = stream.filterConfig<CompressorOverride>(this.#key);
    const { request, response } = this.config;
    const acceptEncoding = head.headers.get('accept-encoding');
    if (acceptEncoding !== undefined) stream.keep(this, acceptEncoding);
    if ((override?.isEnabled ?? response.isEnabled()) && (override?.removesAcceptEncoding ?? response.removesAcceptEncoding))
      head.headers.remove('accept-encoding');
    const hasBody = request.isEnabled() && !stream.isRequestReceived && head.upgrade === '';
    if (!hasBody || !this.#isLongEnough(request, head.contentLength, this.#requestStats) || !isAllowed(request, head.headers)) {
      this.#requestStats.notCompressed++;
      return 'continue';
    }
    this.#requestStats.compressed++;
    head.contentLength = -1;
    head.headers.set('content-encoding', this.config.library.coding);
    stream.transformRequest(this.#body(this.#requestStats));
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    const { response, library } = this.config;
    const { headers } = head;
    const isEnabled =
      (stream.filterConfig<CompressorOverride>(this.#key)?.isEnabled ?? response.isEnabled()) &&
      this.#isLongEnough(response, head.contentLength, this.#stats);
    const isCompressible = isEnabled && head.upgrade === '' && isAllowed(response, headers) && this.#mayChangeEtag(headers);
    if (head.hasBody && isEnabled && this.#isAccepted(stream, headers) && isCompressible) {
      this.#stats.compressed++;
      weakenEtag(headers);
      head.contentLength = -1;
      headers.set('content-encoding', library.coding);
      stream.transformResponse(this.#body(this.#stats));
    } else this.#stats.notCompressed++;
    // Also where it was not compressed for this client: a cache must know that it depends on what is accepted.
    if (isCompressible) addVary(headers);
  }

  #body(stats: Counts<typeof STATS>): ZlibBody {
    const { library } = this.config;
    return new ZlibBody(library.create(), {
      flushKind: FLUSH_KIND[library.coding],
      maxRatio: Number.POSITIVE_INFINITY,
      onDone({ read, written }) {
        stats.totalUncompressedBytes += read;
        stats.totalCompressedBytes += written;
      },
    });
  }

  #isLongEnough({ minLengthBytes }: CompressedDirection, contentLength: number, stats: Counts<typeof STATS>): boolean {
    if (contentLength < 0 || contentLength >= minLengthBytes) return true;
    stats.contentLengthTooSmall++;
    return false;
  }

  #mayChangeEtag(headers: HeaderMap): boolean {
    if (!this.config.response.skipsEtag || !headers.has('etag')) return true;
    this.#responseStats.notCompressedEtag++;
    return false;
  }

  /** Whether the client likes this filter's coding best of those of the chain. */
  #isAccepted(stream: HttpStream, headers: HeaderMap): boolean {
    const stats = this.#responseStats;
    const acceptEncoding = stream.kept<string>(this);
    if (acceptEncoding === undefined) {
      stats.noAcceptHeader++;
      return false;
    }
    const offers = stream.filters.filter(
      (filter): filter is CompressorFilter => filter instanceof CompressorFilter && isContentType(filter.config.response, headers),
    );
    const choice = chooseCoding(acceptEncoding, {
      offered: offers.map(({ config }) => config.library.coding),
      preferred: offers.find(({ config }) => config.isPreferred)?.config.library.coding,
    });
    switch (choice.kind) {
      case 'identity':
        stats.headerIdentity++;
        return false;
      case 'not-valid':
        stats.headerNotValid++;
        return false;
      case 'wildcard':
        stats.headerWildcard++;
        return choice.coding === this.config.library.coding;
      case 'coding': {
        const isOurs = choice.coding === this.config.library.coding;
        if (isOurs) stats.headerCompressorUsed++;
        else stats.headerCompressorOvershadowed++;
        return isOurs;
      }
    }
  }
}

function isAllowed(direction: CompressedDirection, headers: HeaderMap): boolean {
  return isContentType(direction, headers) && !hasNoTransform(headers) && !headers.has('content-encoding');
}

function isContentType({ contentTypes }: CompressedDirection, headers: HeaderMap): boolean {
  const contentType = headers.get('content-type');
  return contentType === undefined || contentTypes.has((contentType.split(';')[0] ?? '').trim().toLowerCase());
}

export function hasNoTransform(headers: HeaderMap): boolean {
  const cacheControl = headers.get('cache-control');
  return cacheControl?.split(',').some((part) => part.trim().toLowerCase() === 'no-transform') === true;
}

/** A strong validator promises the same bytes, which is not so any more (RFC 9110 §8.8.1). */
function weakenEtag(headers: HeaderMap): void {
  const etag = headers.get('etag');
  if (etag !== undefined && !/^w\//i.test(etag)) headers.remove('etag');
}

function addVary(headers: HeaderMap): void {
  const present = headers.get('vary');
  if (present === undefined) headers.push('vary', 'Accept-Encoding');
  else if (!/(?:^|,)\s*accept-encoding\s*(?:,|$)/i.test(present)) headers.set('vary', `${present}, Accept-Encoding`);
}
