import type { OutboundScope } from '@mizzen/model';
import type { AccessLogSchema } from '@mizzen/xds-api/envoy/config/accesslog/v3/accesslog';
import { FileAccessLogSchema } from '@mizzen/xds-api/envoy/extensions/access_loggers/file/v3/file';
import { any, type Init } from '../messages.ts';

/** Istio's default. Source: istio pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat (1.32 dev). */
const DEFAULT_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ' +
  '%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" ' +
  '%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

/** Keys of the JSON form, by Istio's names. Source: the same file, EnvoyJSONLogFormatIstio. */
const DEFAULT_JSON_FORMAT: Readonly<Record<string, string>> = {
  start_time: '%START_TIME%',
  route_name: '%ROUTE_NAME%',
  method: '%REQ(:METHOD)%',
  path: '%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%',
  protocol: '%PROTOCOL%',
  response_code: '%RESPONSE_CODE%',
  response_flags: '%RESPONSE_FLAGS%',
  response_code_details: '%RESPONSE_CODE_DETAILS%',
  connection_termination_details: '%CONNECTION_TERMINATION_DETAILS%',
  bytes_received: '%BYTES_RECEIVED%',
  bytes_sent: '%BYTES_SENT%',
  duration: '%DURATION%',
  upstream_service_time: '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%',
  x_forwarded_for: '%REQ(X-FORWARDED-FOR)%',
  user_agent: '%REQ(USER-AGENT)%',
  request_id: '%REQ(X-REQUEST-ID)%',
  authority: '%REQ(:AUTHORITY)%',
  upstream_host: '%UPSTREAM_HOST%',
  upstream_cluster: '%UPSTREAM_CLUSTER_RAW%',
  upstream_local_address: '%UPSTREAM_LOCAL_ADDRESS%',
  downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
  downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requested_server_name: '%REQUESTED_SERVER_NAME%',
  upstream_transport_failure_reason: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
};

type AccessLogInit = Init<typeof AccessLogSchema>;

/** The access logs of a listener: none unless the mesh asks for them by `accessLogFile`. */
export function accessLogs(mesh: OutboundScope['mesh']): AccessLogInit[] {
  if (!mesh.accessLogFile) return [];
  const format =
    mesh.accessLogEncoding === 'JSON'
      ? ({ case: 'jsonFormat', value: jsonFormat(mesh.accessLogFormat) } as const)
      : textFormat(mesh.accessLogFormat || DEFAULT_TEXT_FORMAT);
  const config = any(FileAccessLogSchema, { path: mesh.accessLogFile, accessLogFormat: { case: 'logFormat', value: { format } } });
  return [{ name: 'envoy.access_loggers.file', configType: { case: 'typedConfig', value: config } }];
}

// Envoy writes what the format says and no more: without a line end all entries would be one line.
function textFormat(text: string) {
  const line = text.endsWith('\n') ? text : `${text}\n`;
  return { case: 'textFormatSource', value: { specifier: { case: 'inlineString', value: line } } } as const;
}

function jsonFormat(text: string | undefined): Record<string, string> {
  if (!text) return { ...DEFAULT_JSON_FORMAT };
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return { ...DEFAULT_JSON_FORMAT };
    return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, String(value)]));
  } catch {
    return { ...DEFAULT_JSON_FORMAT };
  }
}
