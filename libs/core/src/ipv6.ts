/** The 16 bytes of an IPv6 address in any of its forms; `host` has to be one (`isIPv6`). */
export function ipv6Bytes(host: string): Uint8Array {
  const [head = '', tail] = (host.split('%')[0] as string).split('::');
  const before = groupBytes(head);
  const after = groupBytes(tail ?? '');
  return Uint8Array.from([...before, ...new Array<number>(16 - before.length - after.length).fill(0), ...after]);
}

function groupBytes(text: string): readonly number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}

/** The address whose 16 bytes begin at `offset`. As RFC 5952 §4: lower case, no leading zeros, the longest run of two or more zero groups as `::`. */
export function ipv6Text(bytes: Buffer, offset: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(offset + 2 * index));
  let start = 0;
  let longest = 0;
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from > longest) {
      longest = to - from;
      start = from;
    }
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  return longest < 2 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + longest))}`;
}
