import { create, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { packAny } from '@mizzen/xds-api';
import { ApiVersion } from '@mizzen/xds-api/envoy/config/core/v3/config_source';
import { FractionalPercent_DenominatorType } from '@mizzen/xds-api/envoy/type/v3/percent';

/** The plain form of a message: what `create` takes, without the message itself, so that parts of it can be spread together. */
export type Init<Desc extends DescMessage> = Extract<MessageInitShape<Desc>, { $typeName?: never }>;

export function any<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Any {
  return packAny(schema, create(schema, init));
}

export function duration(milliseconds: number): { seconds: bigint; nanos: number } {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((milliseconds - seconds * 1000) * 1e6) };
}

export const ZERO_DURATION = duration(0);

const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1, us: 0.001, µs: 0.001, ns: 0.000_001 };

/** Reads a duration of the API (`1h30m`, `1.5s`, `100ms`) in milliseconds; undefined where absent or not a duration. */
export function parseDuration(text: string | undefined): number | undefined {
  if (text === undefined || !/^(\d+(\.\d+)?(ms|us|µs|ns|h|m|s))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)/g))
    total += Number(amount) * (UNITS_MS[unit as string] as number);
  return total;
}

/** As a message, or undefined. */
export function optionalDuration(text: string | undefined): { seconds: bigint; nanos: number } | undefined {
  const milliseconds = parseDuration(text);
  return milliseconds === undefined ? undefined : duration(milliseconds);
}

/** 0 to 100 as millionths, the finest that Envoy takes. Source: istio route.go translatePercentToFractionalPercent (1.32 dev). */
export function fractionalPercent(percent: number) {
  return { numerator: Math.round(percent * 10_000), denominator: FractionalPercent_DenominatorType.MILLION };
}

/** Where resources come by the stream that the proxy already has. The proxy waits for them as long as it takes, like Istio's. */
export const ADS_SOURCE = {
  configSourceSpecifier: { case: 'ads', value: {} },
  initialFetchTimeout: ZERO_DURATION,
  resourceApiVersion: ApiVersion.V3,
} as const;

/** Sets the fields whose value is there: keeps optional fields of messages absent instead of undefined. */
export function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
