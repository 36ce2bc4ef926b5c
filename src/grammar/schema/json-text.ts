import {
  type CharRange,
  type CharSet,
  charClass,
  charSet,
  contains,
  isEmptySet,
  literal,
  oneOf,
  without,
} from './rules.js';

export const COMMA = '", "';
export const COLON = '": "';

/** Every character that text can hold. */
export const JSON_CHAR_SET: CharSet = charSet([[0, 0x10ffff]]);

/** What must be escaped within a JSON string (RFC 8259, section 7). */
const ESCAPED: readonly CharRange[] = [
  [0x00, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const ESCAPED_SET = charSet(ESCAPED);
/** Characters that stand for themselves. */
export const PLAIN = without(JSON_CHAR_SET, ESCAPED_SET);

export const QUOTE = '"\\""';

/**
 * One character of the set as it is written within a JSON string: plain if it can be, else as JSON.stringify does.
 * A set that goes beyond ASCII leaves out what needs an escape: single characters keep masks fast (see strings.ts).
 */
export function jsonChars(set: CharSet): string {
  const plain = without(set, ESCAPED_SET);
  if (contains(set, 0x10ffff)) return charClass(plain);
  const options: string[] = isEmptySet(plain) ? [] : [charClass(plain)];
  for (const [first, last] of ESCAPED) {
    for (let code = first; code <= last; code++) {
      if (contains(set, code)) options.push(literal(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
    }
  }
  return oneOf(options);
}

const HEX = '[0-9A-Fa-f]';
/** What may follow a backslash: one code point in all. Half of a surrogate pair alone would be no text. */
export const JSON_ESCAPE =
  `(["\\\\/bfnrt] | "u" ([0-9A-CE-Fa-ce-f] ${HEX} ${HEX} ${HEX} | [Dd] [0-7] ${HEX} ${HEX} | ` +
  `[Dd] [89ABab] ${HEX} ${HEX} "\\\\u" [Dd] [C-Fc-f] ${HEX} ${HEX}))`;
