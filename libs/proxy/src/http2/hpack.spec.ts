import { describe, expect, it } from '@jest/globals';
import type { HeaderField } from './header-field.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { decodeHuffman, encodeHuffman, huffmanLength } from './huffman.ts';
import { SeededRandom } from './testing.ts';

type Fields = readonly (readonly [name: string, value: string])[];

function decodeHex(decoder: HpackDecoder, hex: string): Fields | undefined {
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  return decodeBytes(decoder, bytes);
}

function decodeBytes(decoder: HpackDecoder, bytes: Buffer): Fields | undefined {
  const fields: (readonly [string, string])[] = [];
  const sink = { onField: (field: HeaderField): void => void fields.push([field.name.name.text, field.value]) };
  return decoder.decode(bytes, [0, bytes.length], sink) ? fields : undefined;
}

function encode(encoder: HpackEncoder, fields: Fields): Buffer {
  encoder.begin();
  for (const [name, value] of fields) encoder.field(name, value);
  return Buffer.from(encoder.block.subarray(0, encoder.length));
}

const AUTHORITY = [':authority', 'www.example.com'] as const;
const GET = [':method', 'GET'] as const;
const HTTP = [':scheme', 'http'] as const;

describe('HPACK', () => {
  describe('when it decodes the examples of RFC 7541 appendix C', () => {
    it.each([
      [
        'C.2.1 literal with indexing',
        '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
        [['custom-key', 'custom-header']],
        55,
      ],
      ['C.2.2 literal without indexing', '040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']], 0],
      ['C.2.3 literal never indexed', '1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']], 0],
      ['C.2.4 indexed', '82', [[':method', 'GET']], 0],
    ])('reads %s', (_name, hex, fields, tableBytes) => {
      const decoder = new HpackDecoder();
      expect(decodeHex(decoder, hex)).toEqual(fields);
      expect(decoder.tableBytes).toBe(tableBytes);
    });

    it.each([
      [
        'C.3, without Huffman coding',
        [
          '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
          '8286 84be 5808 6e6f 2d63 6163 6865',
          '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
        ],
      ],
      [
        'C.4, with Huffman coding',
        [
          '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
          '8286 84be 5886 a8eb 1064 9cbf',
          '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
        ],
      ],
    ])('reads the requests of %s', (_name, blocks) => {
      const decoder = new HpackDecoder();
      const decoded = blocks.map((hex) => decodeHex(decoder, hex));
      expect(decoded).toEqual([
        [GET, HTTP, [':path', '/'], AUTHORITY],
        [GET, HTTP, [':path', '/'], AUTHORITY, ['cache-control', 'no-cache']],
        [GET, [':scheme', 'https'], [':path', '/index.html'], AUTHORITY, ['custom-key', 'custom-value']],
      ]);
      expect(decoder.tableBytes).toBe(164);
    });

    it('reads the responses of C.6 with evictions from a table of 256 bytes', () => {
      const decoder = new HpackDecoder();
      decoder.setLimit(256, true);
      const date = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'];
      const location = ['location', 'https://www.example.com'];
      const blocks = [
        '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
        '4883 640e ffc1 c0bf',
        '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
      ];
      expect(blocks.map((hex) => decodeHex(decoder, hex))).toEqual([
        [[':status', '302'], ['cache-control', 'private'], date, location],
        [[':status', '307'], ['cache-control', 'private'], date, location],
        [
          [':status', '200'],
          ['cache-control', 'private'],
          ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
          location,
          ['content-encoding', 'gzip'],
          ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
        ],
      ]);
      expect(decoder.tableBytes).toBe(215);
    });
  });

  describe('when a block is not HPACK', () => {
    it.each([
      ['index 0', '80'],
      ['an index beyond the tables', 'be'],
      ['an index that does not end', 'ff'],
      ['an integer of more than four continuation bytes', 'ff ff ff ff ff ff 01'],
      ['a name of a length beyond the block', '00 05 61'],
      ['a literal without a value', '00 01 61'],
      ['a table larger than SETTINGS allow', '3f e2 1f'],
      ['a change of the table behind a field', '82 20'],
      ['Huffman padding longer than seven bits', '00 01 61 82 1f ff'],
      ['Huffman padding of zeros', '00 01 61 81 18'],
      ['EOS in a Huffman string', '00 01 61 84 ff ff ff ff'],
    ])('refuses %s', (_name, hex) => {
      expect(decodeHex(new HpackDecoder(), hex)).toBeUndefined();
    });
  });

  it('codes every byte by Huffman and back', () => {
    const random = new SeededRandom(1);
    const target = Buffer.alloc(512);
    const back = Buffer.alloc(512);
    for (let round = 0; round < 3000; round++) {
      const text = random.latin1(random.below(100));
      const end = encodeHuffman(text, target, 0);
      expect(end).toBe(huffmanLength(text));
      const length = decodeHuffman(target, 0, end, back);
      expect(back.toString('latin1', 0, length)).toBe(text);
    }
  });

  it('decodes what it encoded, over many blocks, table sizes and evictions', () => {
    const random = new SeededRandom(2);
    for (let round = 0; round < 60; round++) {
      const tableBytes = random.pick([0, 64, 200, 4096, 65_536]);
      const encoder = new HpackEncoder(65_536);
      const decoder = new HpackDecoder();
      decoder.setLimit(65_536, true);
      encoder.setLimit(tableBytes);
      for (let block = 0; block < 60; block++) {
        if (random.below(15) === 0) encoder.setLimit(random.pick([0, 100, 300, 4096, 20_000]));
        const fields = Array.from({ length: random.below(20) }, () => randomField(random));
        expect(decodeBytes(decoder, encode(encoder, fields))).toEqual(fields);
      }
    }
  });

  it('makes a literal that comes again as it was only once, be it coded or not, and remembers no secret', () => {
    const decoder = new HpackDecoder();
    const fieldOf = (hex: string): HeaderField => {
      const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
      const fields: HeaderField[] = [];
      expect(decoder.decode(bytes, [0, bytes.length], { onField: (field) => void fields.push(field) })).toBe(true);
      return fields[0] as HeaderField;
    };
    const path = '040c 2f73 616d 706c 652f 7061 7468';
    const first = fieldOf(path);
    expect(first.value).toBe('/sample/path');
    expect(fieldOf(path)).toBe(first);
    const coded = Buffer.alloc(12);
    const length = encodeHuffman('/sample/path', coded, 0);
    expect(fieldOf(`04${(0x80 | length).toString(16)}${coded.subarray(0, length).toString('hex')}`)).toBe(first);
    // As long, and another.
    expect(fieldOf('040c 2f73 616d 706c 652f 7061 7474').value).toBe('/sample/patt');
    const never = '1008 7061 7373 776f 7264 0673 6563 7265 74';
    expect(fieldOf(never)).toEqual(fieldOf(never));
    expect(fieldOf(never)).not.toBe(fieldOf(never));
  });

  it('never puts a credential into a table', () => {
    const encoder = new HpackEncoder(4096);
    const fields: Fields = [['authorization', 'Bearer abcdefghijklmnopqrstuvwxyz']];
    const blocks = [encode(encoder, fields), encode(encoder, fields), encode(encoder, fields)];
    // 0001xxxx: never indexed, here and behind every other proxy.
    for (const block of blocks) expect((block[0] as number) >> 4).toBe(1);
  });

  it('sends what repeats as one byte, and keeps out what changes', () => {
    const encoder = new HpackEncoder(4096);
    const lengths = Array.from(
      { length: 5 },
      (_, index) =>
        encode(encoder, [
          ['user-agent', 'curl/8'],
          ['x-request-id', `id-${index}`],
        ]).length,
    );
    expect(lengths[4]).toBe(1 + encode(new HpackEncoder(4096), [['x-request-id', 'id-4']]).length);
  });

  it('leaves out what has no place in HTTP/2', () => {
    const fields: Fields = [
      ['connection', 'close'],
      ['transfer-encoding', 'chunked'],
      ['upgrade', 'h2c'],
      ['keep-alive', '5'],
    ];
    expect(encode(new HpackEncoder(4096), fields)).toHaveLength(0);
  });

  it('does not throw on random or mutated blocks, nor grow without bound', () => {
    const random = new SeededRandom(3);
    const encoder = new HpackEncoder(4096);
    for (let round = 0; round < 20_000; round++) {
      const decoder = new HpackDecoder();
      const block =
        random.below(2) === 0
          ? random.bytes(random.below(200))
          : encode(encoder, [randomField(random), randomField(random), randomField(random)]);
      for (let change = random.below(4); change > 0 && block.length > 0; change--) block[random.below(block.length)] = random.below(256);
      decodeBytes(decoder, block);
      expect(decoder.tableBytes).toBeLessThanOrEqual(4096);
    }
  });
});

const NAMES = ['x-a', 'x-b', 'content-type', 'cache-control', 'cookie', 'set-cookie', 'etag', ':path', 'server'];
const VALUES = ['', '1', 'text/plain', 'a long value that repeats itself in more than one message', 'no-cache'];

function randomField(random: SeededRandom): readonly [string, string] {
  const name = random.below(8) === 0 ? `x-${random.below(3000)}` : random.pick(NAMES);
  return [name, random.below(3) === 0 ? random.printable(random.below(80)) : random.pick(VALUES)];
}
