import type { Random } from '../../src/random.js';

/** Numbers at the borders of types and of what parsers take for granted. */
const numbers = [0n, 1n, 0x7fn, 0xffn, 0xffffn, 0x7fffffffn, 0xffffffffn, 0x7fffffffffffffffn, 0xffffffffffffffffn];

const pick = <T>(list: readonly T[], random: Random): T => list[random.below(list.length)] as T;

function change(bytes: Buffer, corpus: readonly Buffer[], words: readonly string[], random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  const length = 1 + random.below(32);
  const put = (piece: Uint8Array, over = 0) => Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + over)]);
  switch (random.below(9)) {
    case 0:
      return put(Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.below(8))), 1);
    case 1:
      return put(Uint8Array.of(random.below(256)), 1);
    case 2: {
      const number = Buffer.alloc(8);
      number.writeBigUInt64LE(pick(numbers, random));
      const width = pick([1, 2, 4, 8], random);
      return put(number.subarray(0, width), width);
    }
    case 3:
      return put(Buffer.alloc(0), length);
    case 4:
      return put(bytes.subarray(at, at + length));
    case 5:
    case 6:
      return words.length === 0 ? bytes : put(Buffer.from(pick(words, random)), random.below(2) * length);
    case 7: {
      const other = pick(corpus, random);
      const from = random.below(other.length + 1);
      return put(other.subarray(from, from + random.below(128)), random.below(2) * length);
    }
    default:
      return put(
        Buffer.from(pick(['0', '-1', '1e999', '9007199254740993', '"', '\\', '\u0000', 'é', '\u{1f600}'], random)),
      );
  }
}

/** A member of the corpus after one to eight changes; never empty of choice, never longer than `bytesMax`. */
export function changed(corpus: readonly Buffer[], words: readonly string[], random: Random, bytesMax: number): Buffer {
  let bytes: Buffer = pick(corpus, random);
  for (let left = 1 << random.below(4); left > 0; left--) bytes = change(bytes, corpus, words, random);
  return Buffer.from(bytes.subarray(0, bytesMax));
}
