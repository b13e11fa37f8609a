/** What routes look at. Implemented by the proxy's streams and by simulations. */
export interface RequestView {
  /** Host with port, as sent. */
  readonly authority: string;
  /** With query; '' for CONNECT. */
  readonly path: string;
  readonly method: string;
  /** `http` or `https`: how the original client came (x-forwarded-proto). */
  readonly scheme: string;
  /** Uniform in [0, 1), the same during one request: fractions and weights of one request are decided by it. */
  readonly random: number;
  /** The client proved by a certificate who it is; absent where that is not known. */
  readonly isDownstreamMtls?: boolean;
  /** What filters found out of the request, by namespace; absent where that is not known. */
  readonly dynamicMetadata?: ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined;
  /** By lower-cased name; several values are joined by a comma. */
  header(lowerCaseName: string): string | undefined;
}

/** The path without query and fragment. */
export function pathOnly(path: string): string {
  const query = path.indexOf('?');
  const fragment = path.indexOf('#');
  if (query < 0 && fragment < 0) return path;
  return path.slice(0, query < 0 ? fragment : fragment < 0 ? query : Math.min(query, fragment));
}
