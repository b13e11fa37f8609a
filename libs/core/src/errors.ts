/** Every error that a Mizzen process may end with or report, with what to do. Checked against docs/reference/errors.md. */
export const ERROR_CODES = {
  MIZZEN_SETTINGS: 'a flag or an environment variable is wrong; the message names each',
  MIZZEN_PORT_IN_USE: 'a port is taken; free it or choose another',
  MIZZEN_ADDRESS: 'an address cannot be bound or reached',
  MIZZEN_BOOTSTRAP: 'the bootstrap file is not one that this proxy can use',
  MIZZEN_CONFIG_DIR: 'the configuration directory cannot be read or written',
  MIZZEN_RESOURCE: 'a resource is invalid or does not exist',
  MIZZEN_IDENTITY: 'a certificate, key or token is missing, invalid or expired',
  MIZZEN_CA_UNREACHABLE: 'the CA does not answer',
  MIZZEN_XDS: 'the xDS stream failed',
  MIZZEN_NOT_RUNNING: 'the process that the command talks to is not running',
  MIZZEN_CHILD: 'a process that was started ended unexpectedly',
  MIZZEN_KUBERNETES: 'the Kubernetes API cannot be reached, or refuses what is asked',
  MIZZEN_STORE: 'an embedded store cannot be opened or written',
  MIZZEN_UNEXPECTED: 'an error that nobody foresaw; please report it',
} as const satisfies Record<string, string>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An error with a stable code. Messages are lower case, without a full stop, and say what to do. */
export class MizzenError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: Readonly<Record<string, unknown>> } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MizzenError';
    this.code = code;
    this.details = options.details ?? {};
  }

  /** Total: whatever was thrown comes back as a MizzenError. */
  static from(thrown: unknown): MizzenError {
    if (isMizzenError(thrown)) return thrown;
    return new MizzenError('MIZZEN_UNEXPECTED', errorMessage(thrown), { cause: thrown });
  }
}

// By its shape and not by `instanceof`, which is false across realms (Jest's, worker threads).
export function isMizzenError(thrown: unknown): thrown is MizzenError {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && typeof thrown.code === 'string' && thrown.code in ERROR_CODES;
}

/** A programming error: something that cannot happen did. Never caught to continue. */
export class InvariantError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvariantError';
  }
}

export function assertNever(value: never, what: string): never {
  throw new InvariantError(`${what}: unexpected ${JSON.stringify(value)}`);
}

/** The message of anything that was thrown. */
export function errorMessage(thrown: unknown): string {
  return typeof thrown === 'object' && thrown !== null && 'message' in thrown ? String(thrown.message) : String(thrown);
}

/** The `code` of a system error (`ECONNREFUSED`), or ''. */
export function errorCode(thrown: unknown): string {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown ? String(thrown.code) : '';
}
