const UNPRIVILEGED = new Map([
  [80, 8080],
  [443, 8443],
]);

/** The port map to use: what was asked for, and a way around each usual port that may not be bound. */
export function portMapOf(asked: ReadonlyMap<number, number>, mayBindPrivileged: boolean): Map<number, number> {
  return new Map([...(mayBindPrivileged ? [] : UNPRIVILEGED), ...asked]);
}
