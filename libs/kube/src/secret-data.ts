/** The values of a Secret as text. Source: Kubernetes API, Secret `data`: base64. */
export function decodeSecretData(secret: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  const { data } = secret;
  if (typeof data !== 'object' || data === null) return {};
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), 'base64').toString('utf8')]));
}

/** `data` of a Secret that holds these texts. */
export function encodeSecretData(texts: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, Buffer.from(text, 'utf8').toString('base64')]));
}
