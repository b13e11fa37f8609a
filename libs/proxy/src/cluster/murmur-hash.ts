const MASK = (1n << 64n) - 1n;
const MULTIPLIER = 0xc6a4a7935bd1e995n;
// The seed that libstdc++'s std::hash<std::string> uses, which is what MURMUR_HASH_2 stands for. Source: envoy Murmur_Hash2 (1.40).
const SEED = 0xc70f6907n;

function shiftMix(value: bigint): bigint {
  return value ^ (value >> 47n);
}

/** MurmurHash2 with 64 bits, of the UTF-8 bytes of the text. */
export function murmurHash2(text: string): bigint {
  const bytes = Buffer.from(text);
  let hash = SEED ^ ((BigInt(bytes.length) * MULTIPLIER) & MASK);
  const whole = bytes.length & ~7;
  for (let at = 0; at < whole; at += 8) {
    const data = (shiftMix((bytes.readBigUInt64LE(at) * MULTIPLIER) & MASK) * MULTIPLIER) & MASK;
    hash = ((hash ^ data) * MULTIPLIER) & MASK;
  }
  if (whole < bytes.length) {
    let rest = 0n;
    for (let at = bytes.length - 1; at >= whole; at--) rest = (rest << 8n) | BigInt(bytes[at] as number);
    hash = ((hash ^ rest) * MULTIPLIER) & MASK;
  }
  return shiftMix((shiftMix(hash) * MULTIPLIER) & MASK);
}
