const EOS = 256;

/** Bits of each symbol's code, by symbol. The code is canonical, so that the lengths say it all. Source: RFC 7541 appendix B. */
const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10,
  12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
  7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22,
  23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22,
  23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20,
  24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

function assignCodes(): Uint32Array {
  const codes = new Uint32Array(EOS + 1);
  const symbols = CODE_LENGTHS.map((_, symbol) => symbol).sort((a, b) => lengthOf(a) - lengthOf(b) || a - b);
  let code = 0;
  let length = 0;
  for (const symbol of symbols) {
    code *= 2 ** (lengthOf(symbol) - length);
    length = lengthOf(symbol);
    codes[symbol] = code++;
  }
  return codes;
}

function lengthOf(symbol: number): number {
  return CODE_LENGTHS[symbol] as number;
}

const CODES = assignCodes();
const LENGTHS = Uint8Array.from(CODE_LENGTHS);

// One step of the decoder: four bits from a node of the tree lead to a node, and may complete one symbol on the way (no code is
// shorter than five bits). Packed: node << 16 | symbol << 8 | flags.
const HAS_SYMBOL = 1;
const IS_FAILURE = 2;
const NODE_SHIFT = 16;
const SYMBOL_SHIFT = 8;

interface Tree {
  /** Per node two children: a node's number, or -1 - symbol for a leaf. Node 0 is the root; 0 as a child means none. */
  readonly children: number[];
  /** Depth of the nodes whose path is all ones: what may be left over at the end (RFC 7541 §5.2). */
  readonly onesDepth: Map<number, number>;
}

function buildTree(): Tree {
  const children = [0, 0];
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = lengthOf(symbol) - 1; bit >= 0; bit--) {
      const slot = node * 2 + (((CODES[symbol] as number) >>> bit) & 1);
      if (bit === 0) children[slot] = -1 - symbol;
      else {
        if (children[slot] === 0) {
          children[slot] = children.length / 2;
          children.push(0, 0);
        }
        node = children[slot] as number;
      }
    }
  }
  const onesDepth = new Map([[0, 0]]);
  for (let node = children[1] as number, depth = 1; node > 0; node = children[node * 2 + 1] as number, depth++) onesDepth.set(node, depth);
  return { children, onesDepth };
}

function buildSteps({ children }: Tree): Uint32Array {
  const steps = new Uint32Array((children.length / 2) * 16);
  for (let start = 0; start < children.length / 2; start++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node = start;
      let step = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = children[node * 2 + ((nibble >> bit) & 1)] as number;
        if (child >= 0) node = child;
        else {
          const symbol = -1 - child;
          step = symbol === EOS ? IS_FAILURE : HAS_SYMBOL | (symbol << SYMBOL_SHIFT);
          node = 0;
        }
      }
      steps[start * 16 + nibble] = step | (node << NODE_SHIFT);
    }
  }
  return steps;
}

const tree = buildTree();
const STEPS = buildSteps(tree);
/** 1 for the nodes at which a string may end: up to seven ones of padding. */
const MAY_END = new Uint8Array(tree.children.length / 2);
for (const [node, depth] of tree.onesDepth) if (depth < 8) MAY_END[node] = 1;

/**
 * Decodes `bytes` from `start` to `end` into `target` from 0 on; `target` must hold 8/5 of the bytes. Returns how many bytes were
 * written, or -1 where they are not a Huffman-coded string (RFC 7541 §5.2: EOS in it, padding that is too long or not of ones).
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let node = 0;
  let length = 0;
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    let step = STEPS[node * 16 + (byte >> 4)] as number;
    let flags = step;
    if ((step & HAS_SYMBOL) !== 0) target[length++] = step >>> SYMBOL_SHIFT;
    step = STEPS[(step >>> NODE_SHIFT) * 16 + (byte & 15)] as number;
    flags |= step;
    if ((step & HAS_SYMBOL) !== 0) target[length++] = step >>> SYMBOL_SHIFT;
    if ((flags & IS_FAILURE) !== 0) return -1;
    node = step >>> NODE_SHIFT;
  }
  return MAY_END[node] === 1 ? length : -1;
}

/** Bytes that the Latin-1 text takes when coded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let index = 0; index < text.length; index++) bits += LENGTHS[text.charCodeAt(index) & 0xff] as number;
  return (bits + 7) >> 3;
}

/** Writes the Latin-1 text, coded, to `target` from `offset` on; returns the offset behind it. */
export function encodeHuffman(text: string, target: Uint8Array, offset: number): number {
  let position = offset;
  let pending = 0;
  let bits = 0;
  for (let index = 0; index < text.length; index++) {
    const symbol = text.charCodeAt(index) & 0xff;
    const code = CODES[symbol] as number;
    let left = LENGTHS[symbol] as number;
    // At most 8 bits at a time, so that what is pending never leaves 31 bits.
    while (left > 0) {
      const take = Math.min(left, 8);
      pending = (pending << take) | ((code >>> (left - take)) & ((1 << take) - 1));
      bits += take;
      left -= take;
      if (bits >= 8) {
        bits -= 8;
        target[position++] = pending >>> bits;
        pending &= (1 << bits) - 1;
      }
    }
  }
  if (bits > 0) target[position++] = (pending << (8 - bits)) | (0xff >> bits);
  return position;
}
