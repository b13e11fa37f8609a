import type { AnyValue, KeyValue } from '@mizzen/xds-api/opentelemetry/proto/common/v1/common';

const MAX_ATTRIBUTES = 128;
const MAX_VALUE_LENGTH = 1_024;

/** Attributes as strings, cut to a bounded size; of a key that is given twice the last counts. */
export function attributesToRecord(attributes: readonly KeyValue[]): Record<string, string> {
  return Object.fromEntries(
    attributes.slice(0, MAX_ATTRIBUTES).map(({ key, value }) => [key, valueToString(value).slice(0, MAX_VALUE_LENGTH)]),
  );
}

function valueToString(value: AnyValue | undefined): string {
  const content = value?.value;
  switch (content?.case) {
    case 'arrayValue':
      return content.value.values.map(valueToString).join(',');
    case 'kvlistValue':
      return content.value.values.map((entry) => `${entry.key}=${valueToString(entry.value)}`).join(',');
    case 'bytesValue':
      return Buffer.from(content.value).toString('base64');
    case undefined:
      return '';
    default:
      return String(content?.value);
  }
}
