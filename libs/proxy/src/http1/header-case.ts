/**
 * A head of HTTP/1 with the words of its header names in capitals (`Content-Type`), for clients that compare them letter by letter.
 * Source: envoy ProperCaseHeaderKeyFormatter (1.40).
 */
export function withProperCase(head: string): string {
  return head.replace(/(?<=\n)[^:\r\n]+(?=:)/g, (name) => name.replace(/(?<![a-z0-9])[a-z]/g, (letter) => letter.toUpperCase()));
}
