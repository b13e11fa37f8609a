/** Counters under Envoy's names (http.<stat_prefix>.downstream_…); plain numbers, read when scraped. */
export interface HcmStats {
  readonly statPrefix: string;
  downstreamCxTotal: number;
  downstreamCxActive: number;
  downstreamRqTotal: number;
  downstreamRqActive: number;
  downstreamRqRxReset: number;
  downstreamRqTimeout: number;
  downstreamRqIdleTimeout: number;
  downstreamCxProtocolError: number;
  downstreamRq1xx: number;
  downstreamRq2xx: number;
  downstreamRq3xx: number;
  downstreamRq4xx: number;
  downstreamRq5xx: number;
  noRoute: number;
  faultDelaysInjected: number;
  faultAbortsInjected: number;
}

export function createHcmStats(statPrefix: string): HcmStats {
  return {
    statPrefix,
    downstreamCxTotal: 0,
    downstreamCxActive: 0,
    downstreamRqTotal: 0,
    downstreamRqActive: 0,
    downstreamRqRxReset: 0,
    downstreamRqTimeout: 0,
    downstreamRqIdleTimeout: 0,
    downstreamCxProtocolError: 0,
    downstreamRq1xx: 0,
    downstreamRq2xx: 0,
    downstreamRq3xx: 0,
    downstreamRq4xx: 0,
    downstreamRq5xx: 0,
    noRoute: 0,
    faultDelaysInjected: 0,
    faultAbortsInjected: 0,
  };
}

export function countResponse(stats: HcmStats, status: number): void {
  if (status < 200) stats.downstreamRq1xx++;
  else if (status < 300) stats.downstreamRq2xx++;
  else if (status < 400) stats.downstreamRq3xx++;
  else if (status < 500) stats.downstreamRq4xx++;
  else stats.downstreamRq5xx++;
}
