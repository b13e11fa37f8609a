import type { HttpStreamInfo } from '../../http/stream-info.ts';

/** What an authorization server is asked about. */
export interface AuthzQuestion {
  readonly info: HttpStreamInfo;
  /** Identifies the request. */
  readonly id: string;
  /** undefined: the body is not shown. */
  readonly body: Buffer | undefined;
  readonly isPartial: boolean;
  readonly contextExtensions: Readonly<Record<string, string>>;
}
