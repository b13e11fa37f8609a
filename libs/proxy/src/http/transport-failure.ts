// As the operating system says it. Source: strerror(3).
const ERROR_TEXT: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ETIMEDOUT: 'Connection timed out',
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
};

/** Why a connection could not be made, as %UPSTREAM_TRANSPORT_FAILURE_REASON% has it; '' for one that took too long. */
export function transportFailure(failure: { readonly reason: string; readonly isTls: boolean; readonly isTimeout: boolean }): string {
  if (failure.isTls) return failure.reason;
  return failure.isTimeout ? '' : `delayed connect error: ${ERROR_TEXT[failure.reason] ?? failure.reason}`;
}
