import { RESPONSE_FLAG, type ResponseFlag, type StreamInfo } from './stream-info.ts';

/** `-` without any; several are joined by commas. */
export function formatFlags(info: Pick<StreamInfo, 'flags'>): string {
  return info.flags.length === 0 ? '-' : info.flags.map((flag) => RESPONSE_FLAG[flag]).join(',');
}

/** As %RESPONSE_FLAGS_LONG% prints them: `UpstreamConnectionFailure`. */
export function longFlags(info: Pick<StreamInfo, 'flags'>): string {
  return info.flags.length === 0 ? '-' : info.flags.map(longFlag).join(',');
}

function longFlag(flag: ResponseFlag): string {
  return flag.charAt(0).toUpperCase() + flag.slice(1);
}
