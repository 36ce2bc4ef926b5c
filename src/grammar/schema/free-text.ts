import { charClass, charSet, complement, literal, oneOf, type Rules, sequence } from './rules.js';

/**
 * Any text in which each `mark` is followed by `value` and `end`. One rule for each beginning of the mark that the text
 * so far may end with: the automaton of Knuth, Morris and Pratt, which has no other ways back as the mark's first
 * character doesn't come again in it. The text may end in all of them but the last, where the mark is as good as there.
 */
export function amidText(value: string, mark: string, end: string, rules: Rules): string {
  const chars = [...mark];
  const [first = '', ...others] = chars;
  if (others.length === 0 || others.includes(first)) throw new RangeError(`this mark can't be followed: ${mark}`);
  const begun = chars.map(() => rules.reserve());
  const [free = '', once = ''] = begun;
  for (const [i, char] of chars.entries()) {
    const last = i + 1 === chars.length;
    const next = last ? [value, literal(end), free] : [begun[i + 1] ?? free];
    const on = sequence([literal(char), ...next]);
    const codes = [first, char].map((one) => one.codePointAt(0) ?? 0);
    const other = charClass(complement(charSet(codes.map((code) => [code, code]))));
    const back = i === 0 ? [] : [sequence([literal(first), once])];
    rules.define(begun[i] ?? free, last ? on : oneOf([null, on, sequence([other, free]), ...back]));
  }
  return free;
}
