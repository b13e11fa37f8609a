import type { Field } from '@mizzen/matching';
import {
  type Decompressor,
  type Decompressor_CommonDirectionConfig,
  DecompressorSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/http/decompressor/v3/decompressor';
import type { RuntimeValues } from '../config/runtime-values.ts';
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
import { addAcceptedCoding } from './accept-encoding.ts';
import { type CompressionLibrary, compileDecompressor } from './compression-libraries.ts';
import { hasNoTransform } from './compressor.ts';
import { runtimeFlag } from './runtime-switches.ts';
import { ZlibBody } from './zlib-body.ts';

const STATS = defineStats({
  counters: {
    decompressed: 'decompressed',
    notDecompressed: 'not_decompressed',
    totalUncompressedBytes: 'total_uncompressed_bytes',
    totalCompressedBytes: 'total_compressed_bytes',
  },
});

interface Direction {
  isEnabled(): boolean;
  readonly ignoresNoTransform: boolean;
}

interface DecompressorConfig {
  readonly library: CompressionLibrary;
  readonly request: Direction;
  readonly response: Direction;
  /** Upstreams are told that they may compress. */
  readonly advertises: boolean;
}

export const decompressorFilter: HttpFilterKind = defineHttpFilter({
  schema: DecompressorSchema,
  create(message, field, environment) {
    const config = compileConfig(message, field, environment.context.runtimeValues);
    return config && new DecompressorFilter(config, environment);
  },
});

function compileConfig(message: Decompressor, field: Field, runtime: RuntimeValues): DecompressorConfig | undefined {
  const library = compileDecompressor(message.decompressorLibrary, field.child('decompressor_library'));
  const { requestDirectionConfig: request, responseDirectionConfig: response } = message;
  return (
    library && {
      library,
      request: compileDirection(request?.commonConfig, runtime),
      response: compileDirection(response?.commonConfig, runtime),
      advertises: request?.advertiseAcceptEncoding ?? true,
    }
  );
}

function compileDirection(message: Decompressor_CommonDirectionConfig | undefined, runtime: RuntimeValues): Direction {
  return { isEnabled: runtimeFlag(message?.enabled, runtime), ignoresNoTransform: message?.ignoreNoTransformHeader ?? false };
}

/**
 * Decompresses bodies, so that the other side need not. Source: Envoy, Decompressor filter (1.40). @deviation: a body that does not
 * decompress, or to far more than it was, ends the exchange; Envoy sends on what it has of it. No trailers tell the lengths.
 */
class DecompressorFilter implements HttpFilter {
  readonly #config: DecompressorConfig;
  readonly #requestStats: Counts<typeof STATS>;
  readonly #responseStats: Counts<typeof STATS>;

  constructor(config: DecompressorConfig, { context, statPrefix }: FilterEnvironment) {
    this.#config = config;
    const counts = (direction: string): Counts<typeof STATS> =>
      context.stats.counts(STATS, {
        prefix: `http.${statPrefix}.decompressor.${config.library.statName}.${direction}`,
        tags: [['envoy.http_conn_manager_prefix', statPrefix]],
      });
    this.#requestStats = counts('request');
    this.#responseStats = counts('response');
  }

  onRequest(stream: HttpStream): FilterDecision {
    const { head } = stream.info;
    const { library, request, advertises } = this.#config;
    if (advertises) head.headers.set('accept-encoding', addAcceptedCoding(head.headers.get('accept-encoding'), library.coding));
    if (stream.isRequestReceived) return 'continue';
    if (this.#takes(request, head.headers)) {
      head.contentLength = -1;
      stream.transformRequest(this.#body(this.#requestStats));
    } else this.#requestStats.notDecompressed++;
    return 'continue';
  }

  onResponse(stream: HttpStream, head: ResponseHead): void {
    if (!head.hasBody) return;
    if (head.upgrade === '' && this.#takes(this.#config.response, head.headers)) {
      head.contentLength = -1;
      stream.transformResponse(this.#body(this.#responseStats));
    } else this.#responseStats.notDecompressed++;
  }

  /** Whether this direction is decompressed; the coding is taken from the header. */
  #takes({ isEnabled, ignoresNoTransform }: Direction, headers: HeaderMap): boolean {
    if (!isEnabled() || (!ignoresNoTransform && hasNoTransform(headers))) return false;
    const codings = headers
      .get('content-encoding')
      ?.split(',')
      .map((coding) => coding.trim());
    // As Envoy: the first one, whatever else is named.
    if (codings?.[0]?.toLowerCase() !== this.#config.library.coding) return false;
    if (codings.length === 1) headers.remove('content-encoding');
    else headers.set('content-encoding', codings.slice(1).join(', '));
    return true;
  }

  #body(stats: Counts<typeof STATS>): ZlibBody {
    const { library } = this.#config;
    stats.decompressed++;
    return new ZlibBody(library.create(), {
      flushKind: undefined,
      maxRatio: library.maxRatio,
      onDone({ read, written }) {
        stats.totalCompressedBytes += read;
        stats.totalUncompressedBytes += written;
      },
    });
  }
}
