/**
 * Unicode classes that the pre-tokenizers' regular expressions are made of, as a table: scanning by table takes linear
 * time and constant stack on any input, where a regular expression can overflow on a run of a million letters.
 */

export const OTHER = 0;
export const LETTER = 1; // \p{L}
export const NUMBER = 2; // \p{N}
export const SPACE = 3; // \s as Oniguruma has it: White_Space (with U+0085, without U+FEFF), not JavaScript's \s
export const PUNCTUATION = 4; // \p{P} and $ + < = > ^ ~ |; only the `default` pre-tokenizer tells it from OTHER

export type CharClass = typeof OTHER | typeof LETTER | typeof NUMBER | typeof SPACE | typeof PUNCTUATION;

const CODE_POINTS = 0x110000;
const PAGE_BITS = 8;
const classes = new Uint8Array(CODE_POINTS);
const pageKnown = new Uint8Array(CODE_POINTS >> PAGE_BITS);

function classify(codePoint: number): CharClass {
  const char = String.fromCodePoint(codePoint);
  if (/\p{L}/u.test(char)) return LETTER;
  if (/\p{N}/u.test(char)) return NUMBER;
  if (/\p{White_Space}/u.test(char)) return SPACE;
  return /[\p{P}$+<=>^~|]/u.test(char) ? PUNCTUATION : OTHER;
}

/** Class of a code point in [0, 0x10FFFF]. Pages of 256 are filled when first asked for: few scripts are ever used. */
export function classOf(codePoint: number): number {
  const page = codePoint >> PAGE_BITS;
  if (pageKnown[page] === 0) {
    const first = page << PAGE_BITS;
    for (let i = first; i < first + (1 << PAGE_BITS); i++) classes[i] = classify(i);
    pageKnown[page] = 1;
  }
  return classes[codePoint] ?? OTHER;
}

/** Lone surrogates become U+FFFD, as they do in any conversion to UTF-8. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, '\uFFFD');

/**
 * Longest run of combining marks that is normalized as a whole. ICU's reordering is quadratic in it: a request of
 * 4 MB of marks would take many minutes. Longer runs exist only in attacks; they are normalized in parts of this size
 * (Unicode's own stream-safe format, UAX #15 section 13, already cuts after 30).
 */
const MARK_RUN_MAX = 1024;

/** Unicode normalization form C in time linear in the text. Equal to `normalize('NFC')` up to MARK_RUN_MAX marks. */
export function normalizeNfc(text: string): string {
  let parts = '';
  let start = 0;
  let marks = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x300) {
      marks = 0;
      continue;
    }
    const codePoint = text.codePointAt(i) ?? unit;
    const at = i;
    if (codePoint > 0xffff) i++;
    marks = isMark(codePoint) ? marks + 1 : 0;
    if (marks > MARK_RUN_MAX) {
      parts += text.slice(start, at).normalize('NFC');
      start = at;
      marks = 1;
    }
  }
  return start === 0 ? text.normalize('NFC') : parts + text.slice(start).normalize('NFC');
}

const isMark = (codePoint: number): boolean =>
  classOf(codePoint) === OTHER && /\p{M}/u.test(String.fromCodePoint(codePoint));
