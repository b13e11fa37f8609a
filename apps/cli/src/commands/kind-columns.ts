import type { Kind } from '@mizzen/mesh-api';
import { listAt, textAt } from '../proxy-config/json.ts';

export interface Column {
  readonly title: string;
  readonly value: (spec: unknown) => string;
}

const COLUMNS: Partial<Record<Kind, readonly Column[]>> = {
  VirtualService: [list('GATEWAYS', 'gateways'), list('HOSTS', 'hosts')],
  DestinationRule: [text('HOST', 'host')],
  ServiceEntry: [list('HOSTS', 'hosts'), text('LOCATION', 'location'), text('RESOLUTION', 'resolution')],
  WorkloadEntry: [text('ADDRESS', 'address')],
  PeerAuthentication: [text('MODE', 'mtls', 'mode')],
  AuthorizationPolicy: [text('ACTION', 'action')],
};

/** The columns that kubectl shows for a kind. Source: additionalPrinterColumns of Istio's CustomResourceDefinitions, 1.32 dev. */
export function kindColumns(kind: Kind): readonly Column[] {
  return COLUMNS[kind] ?? [];
}

function text(title: string, ...path: string[]): Column {
  return { title, value: (spec) => textAt(spec, ...path) };
}

function list(title: string, name: string): Column {
  return {
    title,
    value: (spec) => {
      const values = listAt(spec, name);
      return values.length === 0 ? '' : JSON.stringify(values);
    },
  };
}
