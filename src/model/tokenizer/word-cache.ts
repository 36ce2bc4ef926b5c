import { TOKENIZER_CACHE_WORDS_MAX } from '../../limits.js';

/** Words longer than this (UTF-16 units) are rare and not kept. */
const WORD_UNITS_MAX = 48;

/** Ids of words seen before: natural text repeats a few thousand of them. Emptied when full. */
export class WordCache {
  readonly #ids = new Map<string, Int32Array>();

  get(word: string): Int32Array | undefined {
    return word.length > WORD_UNITS_MAX ? undefined : this.#ids.get(word);
  }

  set(word: string, ids: Int32Array): void {
    if (word.length > WORD_UNITS_MAX) return;
    if (this.#ids.size >= TOKENIZER_CACHE_WORDS_MAX) this.#ids.clear();
    // A fresh string: a slice would keep the whole prompt that it was cut from alive.
    this.#ids.set(Buffer.from(word, 'utf16le').toString('utf16le'), ids);
  }
}
