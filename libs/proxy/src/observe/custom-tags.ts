import type { StreamInfo } from '@mizzen/telemetry';
import type { CustomTag } from '@mizzen/xds-api/envoy/type/tracing/v3/custom_tag';
import { ConfigError, within } from '../config/config-error.ts';

/** A tag of spans and of gRPC access logs. */
export interface CompiledTag {
  readonly tag: string;
  /** undefined and '' : no tag. */
  readonly value: (info: StreamInfo) => string | undefined;
}

/** Throws ConfigError with the place below `custom_tags`. Source: envoy Tracing::CustomTagUtility (1.40). */
export function compileCustomTags(tags: readonly CustomTag[]): readonly CompiledTag[] {
  return tags.map((tag, index) => within(`custom_tags[${index}]`, () => compileTag(tag)));
}

function compileTag({ tag, type }: CustomTag): CompiledTag {
  if (tag === '') throw new ConfigError('tag', 'is required');
  switch (type.case) {
    case 'literal':
      return { tag, value: () => type.value.value };
    case 'requestHeader': {
      const name = type.value.name.toLowerCase();
      return { tag, value: (info) => info.requestHeader(name) ?? type.value.defaultValue };
    }
    case 'environment': {
      const value = process.env[type.value.name] ?? type.value.defaultValue;
      return { tag, value: () => value };
    }
    case 'metadata': {
      const { kind, metadataKey, defaultValue } = type.value;
      const source = kind?.kind.case;
      const keys = metadataKey?.path.map(({ segment }) => segment.value ?? '') ?? [];
      const namespace = metadataKey?.key ?? '';
      if (namespace === '') throw new ConfigError('metadata.metadata_key.key', 'is required');
      const read = (info: StreamInfo): unknown =>
        source === undefined || source === 'request'
          ? info.dynamicMetadata?.get(namespace)
          : info.configuredMetadata?.(source === 'host' ? 'endpoint' : source, namespace);
      return { tag, value: (info) => metadataText(read(info), keys) ?? defaultValue };
    }
    default:
      throw new ConfigError(type.case ?? '', 'is not supported by this proxy; use literal, request_header, environment or metadata');
  }
}

function metadataText(from: unknown, keys: readonly string[]): string | undefined {
  let value = from;
  for (const key of keys) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  if (value === undefined || value === null) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
