import { COLON, COMMA, PLAIN, QUOTE } from './json-text.js';
import {
  charClass,
  charSet,
  contains,
  literal,
  oneOf,
  type Rules,
  repeat,
  sequence,
  simplified,
  without,
} from './rules.js';

export type Property = { readonly name: string; readonly value: string; readonly isRequired: boolean };

/** Further properties, any number of them: the expression of their values. */
export type Rest = { readonly value: string; readonly max: number | null } | null;

type Trie = { readonly children: Map<number, Trie>; isEnd: boolean };

/**
 * A key in quotes that is none of these names: a second value for a declared property would replace the first one. Only
 * characters that need no escape, so that a name has one spelling.
 */
function keyExcept(names: readonly string[], rules: Rules): string {
  const root: Trie = { children: new Map(), isEnd: false };
  for (const name of names) {
    const codes = [...name].map((char) => char.codePointAt(0) ?? 0);
    if (!codes.every((code) => contains(PLAIN, code))) continue;
    let node = root;
    for (const code of codes) {
      const next = node.children.get(code) ?? { children: new Map(), isEnd: false };
      node.children.set(code, next);
      node = next;
    }
    node.isEnd = true;
  }
  const free = rules.named('key', (self) => oneOf([QUOTE, sequence([charClass(PLAIN), self])]));
  const from = (node: Trie): string => {
    const taken = charSet([...node.children.keys()].map((code) => [code, code] as const));
    const others = sequence([charClass(simplified(without(PLAIN, taken))), free]);
    const options: string[] = node.isEnd ? [others] : [QUOTE, others];
    for (const [code, child] of node.children)
      options.push(sequence([literal(String.fromCodePoint(code)), from(child)]));
    return rules.rule(oneOf(options));
  };
  return rules.rule(sequence([QUOTE, from(root)]));
}

/**
 * An object with its properties in the order of the schema, optional ones left out at will, and then others. Two chains
 * of rules, one where a property came before (so a comma is due) and one where none did: linear in their number.
 */
export function objectOf(properties: readonly Property[], rest: Rest, rules: Rules): string {
  let tail: string | null = null;
  let head: string | null = null;
  if (rest !== null) {
    const key = keyExcept(
      properties.map(({ name }) => name),
      rules,
    );
    const member = rules.rule(sequence([key, COLON, rest.value]));
    const more = (max: number | null) => repeat(`(${COMMA} ${member})`, 0, max);
    tail = rules.rule(more(rest.max));
    head =
      rest.max === 0
        ? null
        : rules.rule(oneOf([null, sequence([member, more(rest.max === null ? null : rest.max - 1)])]));
  }
  for (const { name, value, isRequired } of [...properties].reverse()) {
    const member = sequence([literal(JSON.stringify(name)), COLON, value]);
    const first = sequence(tail === null ? [member] : [member, tail]);
    const later: string = sequence([COMMA, first]);
    head = rules.rule(isRequired ? first : oneOf([first, head]));
    tail = rules.rule(isRequired ? later : oneOf([later, tail]));
  }
  return sequence(head === null ? ['"{"', '"}"'] : ['"{"', head, '"}"']);
}
