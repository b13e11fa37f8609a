import { compileAccessLogFormat, type StreamInfo } from '@mizzen/telemetry';
import { HeaderValueOptionSchema, HeaderValueSchema } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  type TcpProxy_TunnelingConfig,
  TcpProxy_TunnelingConfigSchema,
} from '@mizzen/xds-api/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy';
import { ConfigError, within } from '../config/config-error.ts';
import { refuseUnsupportedFields } from '../config/unsupported-fields.ts';
import { HeaderMap } from '../http/headers.ts';
import type { RequestHead } from '../http/stream.ts';

/** Makes the head of the request that opens the tunnel of a connection. */
export type TunnelHead = (info: StreamInfo) => RequestHead;

const SUPPORTED = {
  [TcpProxy_TunnelingConfigSchema.typeName]: ['hostname', 'use_post', 'post_path', 'headers_to_add'],
  [HeaderValueOptionSchema.typeName]: ['header', 'append_action', 'keep_empty_value'],
  [HeaderValueSchema.typeName]: ['key', 'value'],
};

/** Throws ConfigError. Source: envoy docs, TcpProxy.TunnelingConfig (1.40). */
export function compileTunnel(message: TcpProxy_TunnelingConfig | undefined): TunnelHead | undefined {
  if (message === undefined) return undefined;
  refuseUnsupportedFields(TcpProxy_TunnelingConfigSchema, message, { supported: SUPPORTED, path: 'tunneling_config' });
  if (message.hostname === '') throw new ConfigError('tunneling_config.hostname', 'is required: the host and port that the tunnel ends at');
  if (message.postPath !== '' && !message.usePost) throw new ConfigError('tunneling_config.post_path', 'needs use_post');
  const authority = within('tunneling_config.hostname', () => compileAccessLogFormat(message.hostname, { omitsEmptyValues: true }));
  const headers = message.headersToAdd.map(({ header }, index) => ({
    name: (header?.key ?? '').toLowerCase(),
    value: within(`tunneling_config.headers_to_add[${index}].header.value`, () =>
      compileAccessLogFormat(header?.value ?? '', { omitsEmptyValues: true }),
    ),
  }));
  const method = message.usePost ? 'POST' : 'CONNECT';
  const path = message.usePost ? message.postPath || '/' : '';
  return (info) => {
    const map = new HeaderMap();
    for (const { name, value } of headers) map.append(name, value(info));
    return {
      protocol: 'HTTP/1.1',
      method,
      path,
      authority: authority(info),
      scheme: 'http',
      headers: map,
      hasBody: true,
      contentLength: -1,
      upgrade: '',
      expectsContinue: false,
      wireBytes: 0,
    };
  };
}
