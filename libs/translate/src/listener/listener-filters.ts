import type { ListenerFilterSchema } from '@mizzen/xds-api/envoy/config/listener/v3/listener_components';
import { HttpInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/http_inspector/v3/http_inspector';
import { TlsInspectorSchema } from '@mizzen/xds-api/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector';
import { any, type Init } from '../messages.ts';

type ListenerFilterInit = Init<typeof ListenerFilterSchema>;

/** Reads server name and ALPN of a ClientHello. */
export const tlsInspector: ListenerFilterInit = {
  name: 'envoy.filters.listener.tls_inspector',
  configType: { case: 'typedConfig', value: any(TlsInspectorSchema, {}) },
};

/** Tells HTTP in plaintext from other bytes. */
export const httpInspector: ListenerFilterInit = {
  name: 'envoy.filters.listener.http_inspector',
  configType: { case: 'typedConfig', value: any(HttpInspectorSchema, {}) },
};
