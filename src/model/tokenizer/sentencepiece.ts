/**
 * SentencePiece BPE (GGUF model `llama`): spaces are written as ▁, any two neighbours whose concatenation is a token
 * may merge, the token of highest score first; characters outside the vocabulary become byte tokens, or the unknown
 * token where there are none (google/sentencepiece, bpe_model.cc and sentencepiece_processor.cc).
 *
 * Scores become ranks, so that both families share the merger. Where no token has a ▁ after another character, as in
 * every vocabulary trained with SentencePiece's defaults, no merge crosses the start of a word, so text is cut there:
 * the result is the same, and words can be cached.
 */
import type { TokenizerMetadata } from '../types.js';
import type { IdBuffer } from './id-buffer.js';
import { Merger } from './merger.js';
import { PairTable } from './pair-table.js';
import { TextMatcher } from './text-matcher.js';
import {
  BYTE,
  byteValue,
  CONTROL,
  invalidVocabulary,
  NORMAL,
  SPACE_MARK,
  UNKNOWN,
  USER_DEFINED,
} from './vocabulary.js';
import { WordCache } from './word-cache.js';

const SPACE_MARK_UNIT = SPACE_MARK.charCodeAt(0);

/** Every way to cut a token in two is tried when a vocabulary is read; longer ones (there are none) are refused. */
const TOKEN_UNITS_MAX = 1024;

/** Scratch above this is given back after the word. */
const SCRATCH_SYMBOLS_MAX = 1 << 20;

export class SentencePieceEncoder {
  readonly #addSpacePrefix: boolean;
  /** Symbols are token ids; from `vocabSize` on, characters that tokens contain without being tokens themselves. */
  readonly #vocabSize: number;
  readonly #symbolOfChar = new Map<number, number>();
  readonly #extraChars: number[] = [];
  readonly #byteIds: Int32Array | null;
  readonly #unknownId: number;
  readonly #merger: Merger;
  readonly #cutsWords: boolean;
  readonly #cache = new WordCache();
  readonly #userDefined = new TextMatcher();
  readonly #control = new TextMatcher();
  #symbols = new Int32Array(256);

  /** Throws `model_metadata_invalid` if scores are missing, or both the byte tokens and the unknown token. */
  constructor(metadata: TokenizerMetadata) {
    const { tokens, tokenTypes } = metadata;
    if (metadata.scores === null) throw invalidVocabulary('scores', 'missing, but a SentencePiece model needs them');
    this.#addSpacePrefix = metadata.addSpacePrefix;
    this.#vocabSize = tokens.length;
    this.#byteIds = findByteIds(metadata);
    if (this.#byteIds === null && metadata.unknownId === null) {
      throw invalidVocabulary('tokens', 'neither the 256 byte tokens nor an unknown token');
    }
    this.#unknownId = metadata.unknownId ?? -1;
    const ids = new Map<string, number>();
    tokens.forEach((token, id) => {
      const type = tokenTypes[id];
      if (type === CONTROL || type === UNKNOWN) this.#control.add(token, id);
      if (type !== NORMAL && type !== USER_DEFINED) return;
      if (token.length > TOKEN_UNITS_MAX) throw invalidVocabulary('tokens', `token ${id} is too long`);
      const text = token.replaceAll(' ', SPACE_MARK);
      if (type === USER_DEFINED) this.#userDefined.add(text, id);
      if (!ids.has(text)) ids.set(text, id);
    });
    this.#cutsWords = ![...ids.keys()].some((text) => /[^\u2581]\u2581/.test(text));
    this.#merger = new Merger(this.#buildPairs(ids, metadata.scores));
  }

  /** Appends the ids of well-formed text. Each stretch between control tokens starts with the space prefix. */
  encode(text: string, parseSpecial: boolean, out: IdBuffer): void {
    if (!parseSpecial) {
      if (text !== '') this.#encodePlain(text, out);
      return;
    }
    const matcher = this.#control;
    for (let from = 0; from < text.length; from = matcher.end) {
      const id = matcher.find(text, from);
      if (matcher.start > from) this.#encodePlain(text.slice(from, matcher.start), out);
      if (id >= 0) out.push(id);
    }
  }

  #encodePlain(raw: string, out: IdBuffer): void {
    const text = (this.#addSpacePrefix ? SPACE_MARK : '') + raw.replaceAll(' ', SPACE_MARK);
    const matcher = this.#userDefined;
    let wasUnknown = false;
    for (let from = 0; from < text.length; from = matcher.end) {
      const id = matcher.find(text, from);
      const stop = matcher.start;
      for (let pos = from; pos < stop; ) {
        const end = this.#cutsWords ? wordEnd(text, pos, stop) : stop;
        for (const wordId of this.#wordIds(text.slice(pos, end))) {
          // Without byte tokens, a run of unknown characters is one unknown token.
          const isUnknown = this.#byteIds === null && wordId === this.#unknownId;
          if (!(isUnknown && wasUnknown)) out.push(wordId);
          wasUnknown = isUnknown;
        }
        pos = end;
      }
      if (id >= 0) {
        out.push(id);
        wasUnknown = false;
      }
    }
  }

  #wordIds(word: string): Int32Array {
    const known = this.#cache.get(word);
    if (known !== undefined) return known;
    if (this.#symbols.length < word.length) this.#symbols = new Int32Array(word.length);
    const symbols = this.#symbols;
    let count = 0;
    for (let i = 0; i < word.length; i++) {
      const codePoint = word.codePointAt(i) ?? 0;
      symbols[count++] = this.#symbolOfChar.get(codePoint) ?? -1 - codePoint;
      if (codePoint > 0xffff) i++;
    }
    count = this.#merger.merge(symbols, count);
    const ids = this.#toIds(symbols, count);
    this.#cache.set(word, ids);
    if (symbols.length > SCRATCH_SYMBOLS_MAX) this.#symbols = new Int32Array(256);
    return ids;
  }

  /** Replaces what is no token: symbol -1-c and the extra symbols stand for single characters. */
  #toIds(symbols: Int32Array, count: number): Int32Array {
    let isAllTokens = true;
    for (let i = 0; i < count && isAllTokens; i++) isAllTokens = this.#isToken(symbols[i] ?? -1);
    if (isAllTokens) return symbols.slice(0, count);
    const ids: number[] = [];
    for (let i = 0; i < count; i++) {
      const symbol = symbols[i] ?? 0;
      if (this.#isToken(symbol)) {
        ids.push(symbol);
      } else if (this.#byteIds === null) {
        ids.push(this.#unknownId);
      } else {
        const codePoint = symbol < 0 ? -1 - symbol : (this.#extraChars[symbol - this.#vocabSize] ?? 0);
        for (const byte of Buffer.from(String.fromCodePoint(codePoint))) ids.push(this.#byteIds[byte] ?? 0);
      }
    }
    return Int32Array.from(ids);
  }

  #isToken(symbol: number): boolean {
    return symbol >= 0 && symbol < this.#vocabSize;
  }

  /** Every way to put a token together from two symbols; equal scores get equal ranks, so the leftmost goes first. */
  #buildPairs(ids: ReadonlyMap<string, number>, scores: Float32Array): PairTable {
    const symbols = new Map(ids);
    for (const text of ids.keys()) {
      for (const char of text) {
        if (symbols.has(char)) continue;
        symbols.set(char, this.#vocabSize + this.#extraChars.length);
        this.#extraChars.push(char.codePointAt(0) ?? 0);
      }
    }
    for (const [text, symbol] of symbols) {
      const codePoint = text.codePointAt(0) ?? 0;
      if (text.length === (codePoint > 0xffff ? 2 : 1)) this.#symbolOfChar.set(codePoint, symbol);
    }
    const rankOfScore = new Map<number, number>();
    for (const score of Float32Array.from(scores).sort().reverse()) {
      if (!rankOfScore.has(score)) rankOfScore.set(score, rankOfScore.size);
    }
    const pairs = new PairTable();
    for (const [text, id] of ids) {
      for (let cut = 1; cut < text.length; cut++) {
        const left = symbols.get(text.slice(0, cut));
        const right = left === undefined ? undefined : symbols.get(text.slice(cut));
        if (left === undefined || right === undefined) continue;
        pairs.add(left, right, rankOfScore.get(scores[id] ?? 0) ?? 0, id);
      }
    }
    return pairs;
  }
}

/** End of the word at `pos`: its ▁s, then what follows up to the next ▁. */
function wordEnd(text: string, start: number, stop: number): number {
  let pos = start;
  while (pos < stop && text.charCodeAt(pos) === SPACE_MARK_UNIT) pos++;
  while (pos < stop && text.charCodeAt(pos) !== SPACE_MARK_UNIT) pos++;
  return pos;
}

/** [256] ids of `<0x00>` … `<0xFF>`, or null unless the vocabulary has them all. */
function findByteIds(metadata: TokenizerMetadata): Int32Array | null {
  const byteIds = new Int32Array(256).fill(-1);
  metadata.tokens.forEach((token, id) => {
    const byte = metadata.tokenTypes[id] === BYTE ? byteValue(token) : -1;
    if (byte >= 0) byteIds[byte] = id;
  });
  return byteIds.includes(-1) ? null : byteIds;
}
