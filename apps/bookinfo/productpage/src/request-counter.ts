/** The one metric of the original: how the calls to the other services ended. */
export class RequestCounter {
  readonly #counts = new Map<string, { destinationApp: string; responseCode: number; count: number }>();

  increment(destinationApp: string, responseCode: number): void {
    const key = `${destinationApp} ${responseCode}`;
    const entry = this.#counts.get(key) ?? { destinationApp, responseCode, count: 0 };
    entry.count += 1;
    this.#counts.set(key, entry);
  }

  /** In the Prometheus text format 0.0.4. */
  toPrometheusText(): string {
    const samples = [...this.#counts.values()].map(
      ({ destinationApp, responseCode, count }) =>
        `request_result_total{destination_app="${destinationApp}",response_code="${responseCode}"} ${count}\n`,
    );
    return `# HELP request_result_total Results of requests\n# TYPE request_result_total counter\n${samples.join('')}`;
  }
}
