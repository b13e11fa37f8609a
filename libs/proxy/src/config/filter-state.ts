import { isIP } from 'node:net';
import { splitHostPort } from '@mizzen/core';
import { type Field, inlineBody, refuseFields } from '@mizzen/matching';
import { type AccessLogFormatter, compileAccessLogFormat, type JsonFormat, type StreamInfo } from '@mizzen/telemetry';
import type { SubstitutionFormatString } from '@mizzen/xds-api/envoy/config/core/v3/substitution_format_string';
import {
  type FilterStateValue,
  FilterStateValue_SharedWithUpstream as Sharing,
} from '@mizzen/xds-api/envoy/extensions/filters/common/set_filter_state/v3/value';
import type { FilterStateObject, SocketAddress } from '../contract.ts';

/** Keys under which filters leave what other parts act on. Source: envoy docs, Well Known Filter State Objects (1.40). */
export const FILTER_STATE_KEYS = {
  upstreamServerName: 'envoy.network.upstream_server_name',
  upstreamSubjectAltNames: 'envoy.network.upstream_subject_alt_names',
  applicationProtocols: 'envoy.network.application_protocols',
  tcpProxyCluster: 'envoy.tcp_proxy.cluster',
  originalDestination: 'envoy.network.transport_socket.original_dst_address',
  /** For internal listeners with the original_dst filter: where the connection wanted to go, and where it came from. */
  localAddress: 'envoy.filters.listener.original_dst.local_ip',
  remoteAddress: 'envoy.filters.listener.original_dst.remote_ip',
  /** The host and port that a dynamic forward proxy goes to. */
  dynamicHost: 'envoy.upstream.dynamic_host',
  dynamicPort: 'envoy.upstream.dynamic_port',
} as const;

const WELL_KNOWN: ReadonlySet<string> = new Set(Object.values(FILTER_STATE_KEYS));
/** Makers of objects that nobody acts on but who is told their key. */
const TEXT_FACTORIES: ReadonlySet<string> = new Set(['envoy.string', 'envoy.hashable_string', 'istio.hashable_string']);

/** The protocols of a list with commas; undefined without any. */
export function applicationProtocols(list: string | undefined): readonly string[] | undefined {
  const given = list?.split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()])) ?? [];
  return given.length === 0 ? undefined : given;
}

/** Sets the objects of one filter. */
export type FilterStateSetter = (objects: Map<string, FilterStateObject>, info: StreamInfo) => void;

/** What a filter sets, in its order; an object that is read-only stays as it is. Source: envoy Filters::Common::SetFilterState (1.40). */
export function compileFilterState(messages: readonly FilterStateValue[], field: Field): FilterStateSetter {
  const values = messages.map((message, index) => compileValue(message, field.at(index)));
  return (objects, info) => {
    for (const { key, format, ...object } of values) {
      const value = format(info);
      if ((value === '' && object.skipsEmpty) || objects.get(key)?.isReadOnly === true) continue;
      objects.set(key, { value, sharing: object.sharing, isReadOnly: object.isReadOnly });
    }
  };
}

interface CompiledValue extends Omit<FilterStateObject, 'value'> {
  readonly key: string;
  readonly format: AccessLogFormatter;
  readonly skipsEmpty: boolean;
}

function compileValue(message: FilterStateValue, field: Field): CompiledValue {
  const key = message.key.value ?? '';
  if (key === '') field.child('object_key').reject('is required');
  const factory = message.factoryKey === '' ? key : message.factoryKey;
  const isText = TEXT_FACTORIES.has(factory) && !WELL_KNOWN.has(key);
  if (!isText && !(WELL_KNOWN.has(key) && factory === key))
    field.child('factory_key').reject(`"${factory}" makes no object that this proxy acts on under "${key}"; envoy.string makes a text`);
  return {
    key,
    format: compileFormat(message.value.value, field.child('format_string')),
    skipsEmpty: message.skipIfEmpty,
    isReadOnly: message.readOnly,
    sharing: SHARING[message.sharedWithUpstream] ?? 'none',
  };
}

const SHARING: Readonly<Record<number, FilterStateObject['sharing']>> = {
  [Sharing.ONCE]: 'once',
  [Sharing.TRANSITIVE]: 'transitive',
};

function compileFormat(message: SubstitutionFormatString | undefined, field: Field): AccessLogFormatter {
  if (message === undefined) {
    field.reject('is required');
    return () => '';
  }
  refuseFields(field, message, ['formatters']);
  const { format, omitEmptyValues: omitsEmptyValues } = message;
  try {
    switch (format.case) {
      case 'textFormatSource':
        return compileAccessLogFormat(inlineBody(format.value, field.child('text_format_source')).toString(), { omitsEmptyValues });
      case 'textFormat':
        return compileAccessLogFormat(format.value, { omitsEmptyValues });
      case 'jsonFormat':
        return compileAccessLogFormat(format.value as JsonFormat, { omitsEmptyValues });
      default:
        field.reject('needs one of text_format_source, json_format');
    }
  } catch (thrown) {
    field.reject((thrown as { message: string }).message);
  }
  return () => '';
}

/** What a connection that goes on inside the process takes with it; undefined for nothing. */
export function sharedObjects(objects: Iterable<readonly [string, FilterStateObject]>): Map<string, FilterStateObject> | undefined {
  const shared = new Map<string, FilterStateObject>();
  for (const [key, object] of objects) {
    if (object.sharing === 'none') continue;
    shared.set(key, object.sharing === 'once' ? { ...object, sharing: 'none' } : object);
  }
  return shared.size === 0 ? undefined : shared;
}

/** The address of an object that says `IP:PORT`; undefined where it says none. */
export function addressOf(value: string | undefined): Extract<SocketAddress, { kind: 'ip' }> | undefined {
  const split = value === undefined ? undefined : splitHostPort(value);
  return split === undefined || isIP(split.host) === 0 ? undefined : { kind: 'ip', host: split.host, port: split.port };
}
