interface Latin1Buffer {
  latin1Slice(start: number, end: number): string;
}

/** `buffer.toString('latin1', start, end)` without the look-up of the encoding's name: it runs for every message. */
export function latin1(bytes: Buffer, start = 0, end: number = bytes.length): string {
  return (bytes as unknown as Latin1Buffer).latin1Slice(start, end);
}
