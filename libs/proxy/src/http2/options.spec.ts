import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { Field, type FieldRejection } from '@mizzen/matching';
import { Http2ProtocolOptionsSchema } from '@mizzen/xds-api/envoy/config/core/v3/protocol';
import { compileHttp2Options, DEFAULT_HTTP2_OPTIONS, type Http2Options } from './options.ts';

function compile(json: JsonValue): { readonly options: Http2Options; readonly rejections: readonly FieldRejection[] } {
  const field = new Field('http2_protocol_options', []);
  const options = compileHttp2Options(fromJson(Http2ProtocolOptionsSchema, json), field);
  return { options, rejections: field.rejections };
}

describe('Http2ProtocolOptions', () => {
  it('has the defaults that Envoy 1.40 tells its clients', () => {
    expect(compileHttp2Options(undefined, new Field('', []))).toBe(DEFAULT_HTTP2_OPTIONS);
    expect(compile({}).options).toEqual(DEFAULT_HTTP2_OPTIONS);
    expect(DEFAULT_HTTP2_OPTIONS).toMatchObject({
      maxConcurrentStreams: 1024,
      initialStreamWindowBytes: 16_777_216,
      initialConnectionWindowBytes: 25_165_824,
      maxConsecutiveEmptyFrames: 1,
    });
  });

  it('takes every field that it knows', () => {
    const { options, rejections } = compile({
      hpackTableSize: 0,
      maxConcurrentStreams: 100,
      initialStreamWindowSize: 65_536,
      initialConnectionWindowSize: 1_048_576,
      allowConnect: true,
      maxOutboundFrames: 1,
      maxOutboundControlFrames: 2,
      maxConsecutiveInboundFramesWithEmptyPayload: 0,
      maxInboundPriorityFramesPerStream: 3,
      maxInboundWindowUpdateFramesPerDataFrameSent: 4,
      overrideStreamErrorOnInvalidHttpMessage: false,
      connectionKeepalive: { interval: '30s', timeout: '5s', intervalJitter: { value: 50 }, connectionIdleInterval: '2s' },
    });
    expect(rejections).toEqual([]);
    expect(options).toEqual({
      hpackTableBytes: 0,
      maxConcurrentStreams: 100,
      initialStreamWindowBytes: 65_536,
      initialConnectionWindowBytes: 1_048_576,
      allowsConnect: true,
      maxOutboundFrames: 1,
      maxOutboundControlFrames: 2,
      maxConsecutiveEmptyFrames: 0,
      maxPriorityFramesPerStream: 3,
      maxWindowUpdateFramesPerDataFrame: 4,
      isStreamErrorOnInvalidMessage: false,
      keepalive: { intervalMs: 30_000, timeoutMs: 5000, jitterRatio: 0.5, idleIntervalMs: 2000 },
    });
  });

  it.each<readonly [JsonValue, string]>([
    [{ allowMetadata: true }, 'http2_protocol_options.allow_metadata'],
    [{ customSettingsParameters: [{ identifier: 9, value: 1 }] }, 'http2_protocol_options.custom_settings_parameters'],
    [{ maxConcurrentStreams: 0 }, 'http2_protocol_options.max_concurrent_streams'],
    [{ initialStreamWindowSize: 1000 }, 'http2_protocol_options.initial_stream_window_size'],
    [{ initialConnectionWindowSize: 2_147_483_648 }, 'http2_protocol_options.initial_connection_window_size'],
    [{ maxOutboundFrames: 0 }, 'http2_protocol_options.max_outbound_frames'],
    [{ maxOutboundControlFrames: 0 }, 'http2_protocol_options.max_outbound_control_frames'],
    [{ maxInboundWindowUpdateFramesPerDataFrameSent: 0 }, 'http2_protocol_options.max_inbound_window_update_frames_per_data_frame_sent'],
    [{ connectionKeepalive: { interval: '1s' } }, 'http2_protocol_options.connection_keepalive.timeout'],
  ])('refuses %j at its place', (json, path) => {
    expect(compile(json).rejections.map((rejection) => rejection.path)).toEqual([path]);
  });
});
