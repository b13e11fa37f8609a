import { type Field, refuseFields } from '@mizzen/matching';
import type {
  Compressor,
  Compressor_CommonDirectionConfig,
  CompressorPerRoute,
} from '@mizzen/xds-api/envoy/extensions/filters/http/compressor/v3/compressor';
import type { RuntimeValues } from '../config/runtime-values.ts';
import { type CompressionLibrary, compileCompressor } from './compression-libraries.ts';
import { runtimeFlag } from './runtime-switches.ts';

/** Which messages of one direction are compressed. */
export interface CompressedDirection {
  isEnabled(): boolean;
  /** Shorter ones are not worth it. */
  readonly minLengthBytes: number;
  /** Lower-case, without parameters. */
  readonly contentTypes: ReadonlySet<string>;
}

export interface CompressorConfig {
  readonly library: CompressionLibrary;
  readonly request: CompressedDirection;
  readonly response: CompressedDirection & { readonly skipsEtag: boolean; readonly removesAcceptEncoding: boolean };
  /** The configuration says the direction of what is counted. */
  readonly countsByDirection: boolean;
  /** Its coding is taken before others that the client likes as much. */
  readonly isPreferred: boolean;
}

export interface CompressorOverride {
  /** undefined: as the filter says. */
  readonly isEnabled: boolean | undefined;
  readonly removesAcceptEncoding: boolean | undefined;
}

// Source: envoy CompressorFilterConfig::DirectionConfig (1.40).
const DEFAULT_CONTENT_TYPES = [
  'application/javascript',
  'application/json',
  'application/xhtml+xml',
  'image/svg+xml',
  'text/css',
  'text/html',
  'text/plain',
  'text/xml',
];
const DEFAULT_MIN_LENGTH_BYTES = 30;

export function compileCompressorConfig(message: Compressor, field: Field, runtime: RuntimeValues): CompressorConfig | undefined {
  const library = compileCompressor(message.compressorLibrary, field.child('compressor_library'));
  const { requestDirectionConfig: request, responseDirectionConfig: response } = message;
  if (response !== undefined) {
    refuseFields(field, message, ['contentLength', 'contentType', 'disableOnEtagHeader', 'removeAcceptEncodingHeader', 'runtimeEnabled']);
  }
  if (library === undefined) return undefined;
  // The older fields speak of responses alone.
  const older: Pick<Compressor_CommonDirectionConfig, 'enabled' | 'minContentLength' | 'contentType'> = {
    enabled: message.runtimeEnabled,
    minContentLength: message.contentLength,
    contentType: message.contentType,
  };
  const responses = response === undefined ? older : response.commonConfig;
  return {
    library,
    request: compileDirection(
      request?.commonConfig,
      request === undefined ? () => false : runtimeFlag(request.commonConfig?.enabled, runtime),
    ),
    response: {
      ...compileDirection(responses, runtimeFlag(responses?.enabled, runtime)),
      skipsEtag: (response ?? message).disableOnEtagHeader,
      removesAcceptEncoding: (response ?? message).removeAcceptEncodingHeader,
    },
    countsByDirection: response !== undefined,
    isPreferred: message.chooseFirst,
  };
}

function compileDirection(
  message: Pick<Compressor_CommonDirectionConfig, 'enabled' | 'minContentLength' | 'contentType'> | undefined,
  isEnabled: () => boolean,
): CompressedDirection {
  const contentTypes = message?.contentType ?? [];
  return {
    isEnabled,
    minLengthBytes: message?.minContentLength ?? DEFAULT_MIN_LENGTH_BYTES,
    contentTypes: new Set((contentTypes.length > 0 ? contentTypes : DEFAULT_CONTENT_TYPES).map((type) => type.toLowerCase())),
  };
}

export function compileCompressorOverride({ override }: CompressorPerRoute, field: Field): CompressorOverride {
  switch (override.case) {
    case 'disabled':
      if (!override.value) field.child('disabled').reject('can only be true');
      return { isEnabled: false, removesAcceptEncoding: undefined };
    case 'overrides': {
      const response = override.value.responseDirectionConfig;
      return { isEnabled: response === undefined ? undefined : true, removesAcceptEncoding: response?.removeAcceptEncodingHeader };
    }
    default:
      field.reject('needs one of disabled, overrides');
      return { isEnabled: undefined, removesAcceptEncoding: undefined };
  }
}
