/**
 * The pre-tokenizers of byte-level BPE models: each cuts text into the pieces ("words") within which merges happen.
 * They are the published regular expressions, written out as scanners: `next(text, pos, end)` is the end of the piece
 * that starts at `pos`, looking at no character outside [pos, end). The text must be well-formed UTF-16.
 */
import { classOf, LETTER, NUMBER, OTHER, PUNCTUATION, SPACE } from './unicode.js';

export type PreTokenizer = {
  readonly next: (text: string, pos: number, end: number) => number;
  /** Normalize text to NFC first (the Qwen2 family does). */
  readonly nfc: boolean;
  /** A word that is itself in the vocabulary is one token, whatever the merges say (the Llama 3 family). */
  readonly wholeWords: boolean;
};

const CARRIAGE_RETURN = 13;
const LINE_FEED = 10;
const BLANK = 32;
const APOSTROPHE = 39;

const codePoint = (text: string, pos: number): number => text.codePointAt(pos) ?? 0;
const width = (point: number): number => (point > 0xffff ? 2 : 1);
const isNewline = (point: number): boolean => point === CARRIAGE_RETURN || point === LINE_FEED;

/** [^\s\p{L}\p{N}] */
const isSymbol = (kind: number): boolean => kind === OTHER || kind === PUNCTUATION;

/** End of the run of characters of one class that starts at `pos`. */
function runEnd(text: string, start: number, end: number, kind: number): number {
  let pos = start;
  while (pos < end) {
    const point = codePoint(text, pos);
    if (classOf(point) !== kind) break;
    pos += width(point);
  }
  return pos;
}

function symbolsEnd(text: string, start: number, end: number): number {
  let pos = start;
  while (pos < end) {
    const point = codePoint(text, pos);
    if (!isSymbol(classOf(point))) break;
    pos += width(point);
  }
  return pos;
}

/**
 * `\s+(?!\S)|\s+` for a run of whitespace [pos, stop): all of it if the text ends there, else all but the last
 * character, which then belongs to the next piece. Whitespace characters are one UTF-16 unit wide.
 */
const spacesEnd = (pos: number, stop: number, end: number): number =>
  stop === end || stop === pos + 1 ? stop : stop - 1;

/** Length of 's 't 're 've 'm 'll 'd at `pos`, or 0. Case-insensitively, ſ (U+017F) folds to s. */
function contractionLength(text: string, pos: number, end: number, ignoreCase: boolean): number {
  if (text.charCodeAt(pos) !== APOSTROPHE || pos + 1 >= end) return 0;
  const raw = text.slice(pos + 1, Math.min(pos + 3, end));
  const letters = ignoreCase ? raw.replace('\u017F', 's').toLowerCase() : raw;
  if (/^[stmd]/.test(letters)) return 2;
  return /^(?:re|ve|ll)/.test(letters) ? 3 : 0;
}

/** GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` (openai/gpt-2, encoder.py). */
function nextGpt2(text: string, pos: number, end: number): number {
  const contraction = contractionLength(text, pos, end, false);
  if (contraction > 0) return pos + contraction;
  const first = codePoint(text, pos);
  const body = first === BLANK && pos + 1 < end ? pos + 1 : pos;
  const kind = classOf(codePoint(text, body));
  if (kind === SPACE) return spacesEnd(pos, runEnd(text, pos, end, SPACE), end);
  return isSymbol(kind) ? symbolsEnd(text, body, end) : runEnd(text, body, end, kind);
}

/** SmolLM: each `\p{N}` alone, then GPT-2 in what lies between: a number ends the text as far as GPT-2 can see. */
function nextSmollm(text: string, pos: number, end: number): number {
  const first = codePoint(text, pos);
  const kind = classOf(first);
  if (kind === NUMBER) return pos + width(first);
  if (kind !== SPACE) return nextGpt2(text, pos, end);
  const stop = runEnd(text, pos, end, SPACE);
  if (stop < end && classOf(codePoint(text, stop)) === NUMBER) return stop;
  return nextGpt2(text, pos, end);
}

/**
 * What llama.cpp does where a file names no pre-tokenizer: four cuts, one within the other: runs of
 * `[\p{P}$+<=>^~|]`, GPT-2 between them, `\p{N}+`, and threes of ASCII digits.
 */
function nextDefault(text: string, pos: number, end: number): number {
  const first = codePoint(text, pos);
  const kind = classOf(first);
  if (kind === PUNCTUATION) return runEnd(text, pos, end, PUNCTUATION);
  if (kind === NUMBER) return nextDigits(text, pos, runEnd(text, pos, end, NUMBER));
  if (kind === LETTER || kind === OTHER) return runEnd(text, pos, end, kind);
  const stop = runEnd(text, pos, end, SPACE);
  const after = stop < end ? classOf(codePoint(text, stop)) : PUNCTUATION;
  if (after === PUNCTUATION) return stop; // the GPT-2 stage sees the text end here
  if (after === NUMBER) {
    // " 12" is one piece for GPT-2, cut by the third stage: the blank stands alone either way.
    return spacesEnd(pos, stop, end);
  }
  if (stop > pos + 1) return stop - 1;
  return first === BLANK ? runEnd(text, stop, end, after) : stop;
}

/** Three ASCII digits, or what comes before the next three in the run of numbers [pos, stop). */
function nextDigits(text: string, pos: number, stop: number): number {
  let digits = 0;
  for (let i = pos; i < stop; i++) {
    const unit = text.charCodeAt(i);
    digits = unit >= 48 && unit <= 57 ? digits + 1 : 0;
    if (digits === 3) return i - 2 === pos ? pos + 3 : i - 2;
  }
  return stop;
}

/**
 * Llama 3 and Qwen2, which differ in the numbers only (up to three at once, or one):
 * `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
 */
const nextModern =
  (digitsMax: number) =>
  (text: string, pos: number, end: number): number => {
    const contraction = contractionLength(text, pos, end, true);
    if (contraction > 0) return pos + contraction;
    const first = codePoint(text, pos);
    const kind = classOf(first);
    if (kind === LETTER) return runEnd(text, pos, end, LETTER);
    if (kind === NUMBER) return numbersEnd(text, pos, end, digitsMax);
    const second = pos + width(first);
    const secondKind = second < end ? classOf(codePoint(text, second)) : SPACE;
    if (secondKind === LETTER && !isNewline(first)) return runEnd(text, second, end, LETTER);
    if (isSymbol(kind)) return newlinesEnd(text, symbolsEnd(text, pos, end), end);
    if (first === BLANK && isSymbol(secondKind)) return newlinesEnd(text, symbolsEnd(text, second, end), end);
    const stop = runEnd(text, pos, end, SPACE);
    for (let i = stop - 1; i >= pos; i--) if (isNewline(text.charCodeAt(i))) return i + 1;
    return spacesEnd(pos, stop, end);
  };

function numbersEnd(text: string, start: number, end: number, countMax: number): number {
  let pos = start;
  for (let count = 0; count < countMax && pos < end; count++) {
    const point = codePoint(text, pos);
    if (classOf(point) !== NUMBER) break;
    pos += width(point);
  }
  return pos;
}

function newlinesEnd(text: string, start: number, end: number): number {
  let pos = start;
  while (pos < end && isNewline(text.charCodeAt(pos))) pos++;
  return pos;
}

const gpt2: PreTokenizer = { next: nextGpt2, nfc: false, wholeWords: false };
const smollm: PreTokenizer = { next: nextSmollm, nfc: false, wholeWords: false };
const llama3: PreTokenizer = { next: nextModern(3), nfc: false, wholeWords: true };
const qwen2: PreTokenizer = { next: nextModern(1), nfc: true, wholeWords: false };

/** By the names of `tokenizer.ggml.pre`. Only names whose rules are exactly these. */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ['default', { next: nextDefault, nfc: false, wholeWords: false }],
  ['gpt-2', gpt2],
  ['smollm', smollm],
  ['llama-bpe', llama3],
  ['llama3', llama3],
  ['llama-v3', llama3],
  ['qwen2', qwen2],
  ['deepseek-r1-qwen', qwen2],
]);
