/** google.protobuf.Duration in milliseconds; undefined stays undefined. */
export function durationMs(duration: { readonly seconds: bigint; readonly nanos: number } | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
