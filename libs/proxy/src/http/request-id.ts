import { randomFillSync } from 'node:crypto';
import { latin1 } from './latin1.ts';

const ID_BYTES = 16;
const IDS_PER_DRAW = 256;
const DASH = 0x2d;
const VERSION_4 = 0x34;

const HEX = Buffer.from('0123456789abcdef');
const HIGH_DIGIT = Uint8Array.from({ length: 256 }, (_, byte) => HEX[byte >> 4] as number);
const LOW_DIGIT = Uint8Array.from({ length: 256 }, (_, byte) => HEX[byte & 0x0f] as number);
/** Where the two digits of each byte stand among the dashes. */
const PLACES = Uint8Array.of(0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34);

const drawn = Buffer.allocUnsafeSlow(ID_BYTES * IDS_PER_DRAW);
let usedBytes = drawn.length;
const text = Buffer.alloc(36, DASH);

/**
 * A random UUID (RFC 9562 §5.4) as `crypto.randomUUID` makes one, but of one piece: that one consists of twenty strings, which are put
 * together only when the request is written, and every request has one.
 */
export function randomRequestId(): string {
  if (usedBytes === drawn.length) {
    randomFillSync(drawn);
    usedBytes = 0;
  }
  for (let index = 0; index < ID_BYTES; index++) {
    const byte = drawn[usedBytes + index] as number;
    const place = PLACES[index] as number;
    text[place] = HIGH_DIGIT[byte] as number;
    text[place + 1] = LOW_DIGIT[byte] as number;
  }
  text[14] = VERSION_4;
  text[19] = HEX[0x8 | ((drawn[usedBytes + 8] as number) & 0x3)] as number;
  usedBytes += ID_BYTES;
  return latin1(text);
}
