import type { ConfigDump, DumpedResource } from './config-dump.ts';

/** What a proxy said of itself. */
export interface ProxyDump {
  readonly dump: ConfigDump;
  /** /clusters?format=json */
  readonly clusterStatuses: unknown;
}

export interface SectionFilter {
  readonly fqdn?: string;
  readonly port?: number;
  readonly subset?: string;
  readonly direction?: string;
  readonly name?: string;
  readonly address?: string;
  readonly cluster?: string;
  readonly status?: string;
}

/** One subcommand of proxy-config: which resources it shows, and the rows of each. */
export interface Section {
  readonly header: readonly string[];
  readonly select: (proxy: ProxyDump, filter: SectionFilter) => readonly DumpedResource[];
  readonly rows: (resource: DumpedResource) => readonly (readonly string[])[];
}
