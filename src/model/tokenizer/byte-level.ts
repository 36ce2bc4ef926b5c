/**
 * Byte-level BPE (GGUF model `gpt2`): special tokens are cut out, the pre-tokenizer cuts words, the UTF-8 bytes of a
 * word merge by the ranks of the merge list.
 */
import { NibbleError } from '../../errors.js';
import type { TokenizerMetadata } from '../types.js';
import type { IdBuffer } from './id-buffer.js';
import { Merger, RANK_MAX } from './merger.js';
import { PairTable } from './pair-table.js';
import { type PreTokenizer, preTokenizers } from './pre-tokenizers.js';
import { TextMatcher } from './text-matcher.js';
import { normalizeNfc } from './unicode.js';
import { byteToChar, CONTROL, invalidVocabulary, NORMAL, UNKNOWN, USER_DEFINED } from './vocabulary.js';
import { WordCache } from './word-cache.js';

export class ByteLevelEncoder {
  readonly #preTokenizer: PreTokenizer;
  /** Ids of tokens that words can become, by their text in the byte alphabet. */
  readonly #ids: ReadonlyMap<string, number>;
  /** [256] id of each byte, -1 where the vocabulary lacks it. */
  readonly #byteIds: Int32Array;
  readonly #merger: Merger;
  readonly #cache = new WordCache();
  readonly #userDefined = new TextMatcher();
  readonly #allSpecial = new TextMatcher();
  #bytes = new Uint8Array(256);
  #symbols = new Int32Array(256);

  /** Throws `tokenizer_unsupported` for an unknown pre-tokenizer, `model_metadata_invalid` for a broken merge list. */
  constructor(metadata: TokenizerMetadata) {
    this.#preTokenizer = findPreTokenizer(metadata.pre ?? 'default');
    const ids = new Map<string, number>();
    metadata.tokens.forEach((token, id) => {
      const type = metadata.tokenTypes[id];
      if (type === USER_DEFINED) this.#userDefined.add(token, id);
      if (type === USER_DEFINED || type === CONTROL || type === UNKNOWN) this.#allSpecial.add(token, id);
      if ((type === NORMAL || type === USER_DEFINED) && !ids.has(token)) ids.set(token, id);
    });
    this.#ids = ids;
    this.#byteIds = Int32Array.from(byteToChar, (char) => ids.get(char) ?? -1);
    this.#merger = new Merger(readMerges(metadata.merges, ids));
  }

  /** Appends the ids of well-formed text. */
  encode(text: string, parseSpecial: boolean, out: IdBuffer): void {
    const matcher = parseSpecial ? this.#allSpecial : this.#userDefined;
    for (let from = 0; from < text.length; from = matcher.end) {
      const id = matcher.find(text, from);
      if (matcher.start > from) this.#encodePlain(text.slice(from, matcher.start), out);
      if (id >= 0) out.push(id);
    }
  }

  #encodePlain(raw: string, out: IdBuffer): void {
    const text = this.#preTokenizer.nfc ? normalizeNfc(raw) : raw;
    const { next } = this.#preTokenizer;
    for (let pos = 0; pos < text.length; ) {
      const end = next(text, pos, text.length);
      const word = text.slice(pos, end);
      let ids = this.#cache.get(word);
      if (ids === undefined) {
        ids = this.#encodeWord(word);
        this.#cache.set(word, ids);
      }
      for (const id of ids) out.push(id);
      pos = end;
    }
  }

  #encodeWord(word: string): Int32Array {
    const byteCount = this.#toBytes(word);
    if (this.#preTokenizer.wholeWords) {
      const id = this.#findWhole(byteCount);
      if (id !== undefined) return Int32Array.of(id);
    }
    const symbols = this.#symbols;
    let count = 0;
    for (let i = 0; i < byteCount; i++) {
      const id = this.#byteIds[this.#bytes[i] ?? 0] ?? -1;
      // A byte the model has no token for is left out, as the model's own tokenizer does (SmolLM2 lacks some controls).
      if (id >= 0) symbols[count++] = id;
    }
    const ids = symbols.slice(0, this.#merger.merge(symbols, count));
    if (symbols.length > SCRATCH_BYTES_MAX) {
      this.#bytes = new Uint8Array(256);
      this.#symbols = new Int32Array(256);
    }
    return ids;
  }

  #toBytes(word: string): number {
    const bytesMax = 3 * word.length;
    if (this.#bytes.length < bytesMax) {
      this.#bytes = new Uint8Array(bytesMax);
      this.#symbols = new Int32Array(bytesMax);
    }
    return utf8.encodeInto(word, this.#bytes).written;
  }

  #findWhole(byteCount: number): number | undefined {
    if (byteCount > WHOLE_WORD_BYTES_MAX) return undefined;
    let spelling = '';
    for (let i = 0; i < byteCount; i++) spelling += byteToChar[this.#bytes[i] ?? 0] ?? '';
    return this.#ids.get(spelling);
  }
}

const utf8 = new TextEncoder();

/** Scratch above this is given back after the word. */
const SCRATCH_BYTES_MAX = 1 << 20;

/** Longer words are not looked up as a whole: the longest token of the Llama 3 vocabulary has 128 bytes. */
const WHOLE_WORD_BYTES_MAX = 1024;

function findPreTokenizer(name: string): PreTokenizer {
  const found = preTokenizers.get(name);
  if (found !== undefined) return found;
  const supported = [...preTokenizers.keys()].join(', ');
  const message = `the pre-tokenizer '${name.slice(0, 64)}' is not supported; supported: ${supported}.`;
  throw new NibbleError('tokenizer_unsupported', { message });
}

function readMerges(merges: readonly string[], ids: ReadonlyMap<string, number>): PairTable {
  if (merges.length > RANK_MAX) throw invalidVocabulary('merges', `${merges.length} merges; at most ${RANK_MAX}`);
  const pairs = new PairTable(merges.length);
  merges.forEach((merge, rank) => {
    const blank = merge.indexOf(' ', 1);
    const left = ids.get(merge.slice(0, blank));
    const right = ids.get(merge.slice(blank + 1));
    const result = blank < 0 ? undefined : ids.get(merge.slice(0, blank) + merge.slice(blank + 1));
    if (left === undefined || right === undefined || result === undefined) {
      throw invalidVocabulary('merges', `merge ${rank} ('${merge.slice(0, 64)}') is not made of tokens`);
    }
    pairs.add(left, right, rank, result);
  });
  return pairs;
}
