/**
 * Has SIGUSR1 open the files of access logs anew, as log rotation does it with Envoy; until `close` of what comes back. Node's own meaning of
 * the signal, to start its debugger, is off as long. Source: envoy docs, "Access logging" and Server::InstanceImpl (1.40).
 */
export function reopenAccessLogsOnSignal(proxy: { reopenAccessLogs(): void }): { close(): Promise<void> } {
  const reopen = (): void => proxy.reopenAccessLogs();
  process.on('SIGUSR1', reopen);
  return {
    async close() {
      process.off('SIGUSR1', reopen);
    },
  };
}
