import {
  type BrotliOptions,
  constants,
  createBrotliCompress,
  createBrotliDecompress,
  createGunzip,
  createGzip,
  createZstdCompress,
  createZstdDecompress,
} from 'node:zlib';
import { type Field, refuseFields } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { TypedExtensionConfig } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import { BrotliSchema as BrotliCompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/brotli/compressor/v3/brotli';
import { BrotliSchema as BrotliDecompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/brotli/decompressor/v3/brotli';
import { type Gzip, GzipSchema as GzipCompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/gzip/compressor/v3/gzip';
import { GzipSchema as GzipDecompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/gzip/decompressor/v3/gzip';
import { type Zstd, ZstdSchema as ZstdCompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/zstd/compressor/v3/zstd';
import { ZstdSchema as ZstdDecompressSchema } from '@mizzen/xds-api/envoy/extensions/compression/zstd/decompressor/v3/zstd';
import type { ZlibEngine } from './zlib-body.ts';

export type ContentCoding = 'gzip' | 'br' | 'zstd';

/** One way to compress or decompress, as configured. */
export interface CompressionLibrary {
  readonly coding: ContentCoding;
  /** `<name>.<library>` in the names of its counters. */
  readonly statName: string;
  create(): ZlibEngine;
  /** For decompression: how many times its size a body may become. */
  readonly maxRatio: number;
}

const STAT_NAME: Readonly<Record<ContentCoding, string>> = { gzip: 'gzip', br: 'brotli', zstd: 'zstd' };

/** Envoy's default for gzip; the others have no limit of their own there. Source: envoy gzip decompressor max_inflate_ratio (1.40). */
const MAX_RATIO = 100;

/** undefined where it is rejected. */
export function compileCompressor(extension: TypedExtensionConfig | undefined, field: Field): CompressionLibrary | undefined {
  const config = extension?.typedConfig;
  const gzip = unpackAny(config, GzipCompressSchema);
  if (gzip !== undefined) return library('gzip', extension, gzipCompressor(gzip));
  const brotli = unpackAny(config, BrotliCompressSchema);
  if (brotli !== undefined) {
    const params: BrotliOptions['params'] = {
      [constants.BROTLI_PARAM_QUALITY]: brotli.quality ?? 3,
      [constants.BROTLI_PARAM_LGWIN]: brotli.windowBits ?? 18,
      [constants.BROTLI_PARAM_LGBLOCK]: brotli.inputBlockBits ?? 24,
      // DEFAULT and GENERIC are one.
      [constants.BROTLI_PARAM_MODE]: Math.max(0, brotli.encoderMode - 1),
      [constants.BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING]: brotli.disableLiteralContextModeling ? 1 : 0,
    };
    return library('br', extension, () => createBrotliCompress({ params, ...chunks(brotli) }));
  }
  const zstd = unpackAny(config, ZstdCompressSchema);
  if (zstd !== undefined) return library('zstd', extension, zstdCompressor(zstd, field.child('typed_config')));
  field.reject(`needs gzip, brotli or zstd${config === undefined ? '' : ` (${config.typeUrl} is not supported)`}`);
  return undefined;
}

/** undefined where it is rejected. */
export function compileDecompressor(extension: TypedExtensionConfig | undefined, field: Field): CompressionLibrary | undefined {
  const config = extension?.typedConfig;
  const gzip = unpackAny(config, GzipDecompressSchema);
  if (gzip !== undefined) {
    const windowBits = gzip.windowBits ?? 15;
    return {
      ...library('gzip', extension, () => createGunzip({ windowBits, ...chunks(gzip) })),
      maxRatio: gzip.maxInflateRatio ?? MAX_RATIO,
    };
  }
  const brotli = unpackAny(config, BrotliDecompressSchema);
  if (brotli !== undefined) {
    const params = { [constants.BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION]: brotli.disableRingBufferReallocation ? 1 : 0 };
    return library('br', extension, () => createBrotliDecompress({ params, ...chunks(brotli) }));
  }
  const zstd = unpackAny(config, ZstdDecompressSchema);
  if (zstd !== undefined) {
    refuseFields(field.child('typed_config'), zstd, ['dictionaries']);
    return library('zstd', extension, () => createZstdDecompress(chunks(zstd)));
  }
  field.reject(`needs gzip, brotli or zstd${config === undefined ? '' : ` (${config.typeUrl} is not supported)`}`);
  return undefined;
}

/** How much output is made at a time. */
function chunks({ chunkSize }: { readonly chunkSize?: number | undefined }): { chunkSize?: number } {
  return chunkSize === undefined ? {} : { chunkSize };
}

function library(coding: ContentCoding, extension: TypedExtensionConfig | undefined, create: () => ZlibEngine): CompressionLibrary {
  return { coding, statName: `${extension?.name ?? ''}.${STAT_NAME[coding]}`, create, maxRatio: MAX_RATIO };
}

/** Defaults as Envoy's: less memory than zlib's own. Source: envoy gzip.proto (1.40). */
function gzipCompressor({
  compressionLevel,
  memoryLevel = 5,
  windowBits = 12,
  compressionStrategy: strategy,
  chunkSize,
}: Gzip): () => ZlibEngine {
  const level = compressionLevel === 0 ? constants.Z_DEFAULT_COMPRESSION : compressionLevel;
  return () => createGzip({ level, memLevel: memoryLevel, windowBits, strategy, ...chunks({ chunkSize }) });
}

function zstdCompressor(zstd: Zstd, field: Field): () => ZlibEngine {
  refuseFields(field, zstd, ['dictionary']);
  const params: Record<number, number> = {
    [constants.ZSTD_c_compressionLevel]: zstd.compressionLevel ?? 3,
    [constants.ZSTD_c_checksumFlag]: zstd.enableChecksum ? 1 : 0,
  };
  if (zstd.strategy !== 0) params[constants.ZSTD_c_strategy] = zstd.strategy;
  return () => createZstdCompress({ params, ...chunks(zstd) });
}
