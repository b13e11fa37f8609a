import { Type } from 'typebox';
import { fields, flag, listOf, nonEmptyText, oneOf, optional, type Spec } from './schema.ts';
import { stringMatchSchema, workloadSelectorSchema } from './shared.ts';

/** What may tell counters of a rule apart besides headers. */
export const RATE_LIMIT_ATTRIBUTES = ['CALLER', 'CLIENT_ADDRESS', 'METHOD', 'PATH'] as const;

const limitSchema = fields({
  requests: Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }),
  unit: optional(oneOf(['SECOND', 'MINUTE', 'HOUR', 'DAY'])),
});

const matchSchema = fields({
  routes: optional(listOf(nonEmptyText)),
  path: optional(stringMatchSchema),
  methods: optional(listOf(Type.String({ pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }))),
  headers: optional(Type.Record(Type.String(), stringMatchSchema)),
  principals: optional(listOf(nonEmptyText)),
});

const bySchema = fields({
  header: optional(nonEmptyText),
  attribute: optional(oneOf([...RATE_LIMIT_ATTRIBUTES])),
});

const ruleSchema = fields({
  name: Type.String({ minLength: 1, maxLength: 63 }),
  scope: optional(oneOf(['LOCAL', 'GLOBAL'])),
  match: optional(matchSchema),
  by: optional(Type.Array(bySchema, { maxItems: 8 })),
  limit: limitSchema,
  denyOnFailure: optional(flag),
});

export const rateLimitSchema = fields({
  selector: optional(workloadSelectorSchema),
  rules: Type.Array(ruleSchema, { minItems: 1, maxItems: 64 }),
});

export type RateLimitSpec = Spec<typeof rateLimitSchema>;
export type RateLimitRule = RateLimitSpec['rules'][number];
export type RateLimitMatch = NonNullable<RateLimitRule['match']>;
