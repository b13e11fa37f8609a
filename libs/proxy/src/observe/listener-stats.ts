import { defineStats } from './stat-registry.ts';

/** What is counted for each listener. Source: envoy docs, "Listener statistics" (1.40). */
export const LISTENER_STATS = defineStats({
  counters: {
    downstreamCxTotal: 'downstream_cx_total',
    downstreamCxDestroy: 'downstream_cx_destroy',
    downstreamCxOverflow: 'downstream_cx_overflow',
    downstreamGlobalCxOverflow: 'downstream_global_cx_overflow',
    downstreamCxTransportSocketConnectTimeout: 'downstream_cx_transport_socket_connect_timeout',
    downstreamPreCxTimeout: 'downstream_pre_cx_timeout',
    downstreamListenerFilterRemoteClose: 'downstream_listener_filter_remote_close',
    downstreamListenerFilterError: 'downstream_listener_filter_error',
    downstreamCxProxyProtoError: 'downstream_cx_proxy_proto_error',
    noFilterChainMatch: 'no_filter_chain_match',
  },
  gauges: { downstreamCxActive: 'downstream_cx_active', downstreamPreCxActive: 'downstream_pre_cx_active' },
});

/** TLS of a listener, below its prefix. Source: envoy docs, "TLS statistics" (1.40). */
export const LISTENER_TLS_STATS = defineStats({
  counters: {
    handshake: 'ssl.handshake',
    connectionError: 'ssl.connection_error',
    failVerifyNoCert: 'ssl.fail_verify_no_cert',
    failVerifyError: 'ssl.fail_verify_error',
    failVerifySan: 'ssl.fail_verify_san',
    failVerifyCertHash: 'ssl.fail_verify_cert_hash',
    noCertificate: 'ssl.no_certificate',
    sessionReused: 'ssl.session_reused',
  },
});
