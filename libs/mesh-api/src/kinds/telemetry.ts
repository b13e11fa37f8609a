import { Type } from 'typebox';
import { duration, fields, flag, listOf, nonEmptyText, oneOf, optional, percentage, type Spec, text } from './schema.ts';
import { providerRefsSchema, targetRefSchema, targetRefsSchema, workloadSelectorSchema } from './shared.ts';

const mode = oneOf(['CLIENT_AND_SERVER', 'CLIENT', 'SERVER']);

const customTagSchema = fields({
  literal: optional(fields({ value: nonEmptyText })),
  environment: optional(fields({ name: nonEmptyText, defaultValue: optional(text) })),
  header: optional(fields({ name: nonEmptyText, defaultValue: optional(text) })),
  formatter: optional(fields({ value: nonEmptyText })),
});

const tracingSchema = fields({
  match: optional(fields({ mode: optional(mode) })),
  providers: optional(providerRefsSchema),
  randomSamplingPercentage: optional(percentage),
  disableSpanReporting: optional(flag),
  customTags: optional(Type.Record(Type.String(), customTagSchema)),
  useRequestIdForTraceSampling: optional(flag),
  enableIstioTags: optional(flag),
  disableContextPropagation: optional(flag),
});

const metricNames = oneOf([
  'ALL_METRICS',
  'REQUEST_COUNT',
  'REQUEST_DURATION',
  'REQUEST_SIZE',
  'RESPONSE_SIZE',
  'TCP_OPENED_CONNECTIONS',
  'TCP_CLOSED_CONNECTIONS',
  'TCP_SENT_BYTES',
  'TCP_RECEIVED_BYTES',
  'GRPC_REQUEST_MESSAGES',
  'GRPC_RESPONSE_MESSAGES',
]);

const metricsSchema = fields({
  providers: optional(providerRefsSchema),
  overrides: optional(
    listOf(
      fields({
        match: optional(fields({ metric: optional(metricNames), customMetric: optional(nonEmptyText), mode: optional(mode) })),
        disabled: optional(flag),
        tagOverrides: optional(
          Type.Record(Type.String(), fields({ operation: optional(oneOf(['UPSERT', 'REMOVE'])), value: optional(text) })),
        ),
      }),
    ),
  ),
  reportingInterval: optional(duration),
});

const accessLoggingSchema = fields({
  match: optional(fields({ mode: optional(mode) })),
  providers: optional(providerRefsSchema),
  disabled: optional(flag),
  filter: optional(fields({ expression: optional(text) })),
});

export const telemetrySchema = fields({
  selector: optional(workloadSelectorSchema),
  targetRef: optional(targetRefSchema),
  targetRefs: optional(targetRefsSchema),
  tracing: optional(listOf(tracingSchema)),
  metrics: optional(listOf(metricsSchema)),
  accessLogging: optional(listOf(accessLoggingSchema)),
});

export type TelemetrySpec = Spec<typeof telemetrySchema>;
