import { fractionOf, type TracingReader } from '@mizzen/matching';
import type { SpanTag, TracingOverrides } from '@mizzen/telemetry';
import { ConfigError } from '../config/config-error.ts';
import { compileCustomTags } from './custom-tags.ts';

/** What a route says of spans. The ratios that it does not give are 1. Source: envoy RouteTracingImpl (1.40). */
export const readRouteTracing: TracingReader = (message, field): TracingOverrides => {
  const ratio = (share: typeof message.randomSampling): number => (share === undefined ? 1 : fractionOf(share));
  let customTags: readonly SpanTag[] = [];
  try {
    customTags = compileCustomTags(message.customTags);
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    field.reject(thrown.message);
  }
  return {
    samplingRatio: ratio(message.randomSampling),
    clientSamplingRatio: ratio(message.clientSampling),
    overallSamplingRatio: ratio(message.overallSampling),
    customTags,
  };
};
