import { ConstraintError } from '../types.js';
import { JSON_CHAR_SET, jsonChars } from './json-text.js';
import { parseRegex, type RegexAlternative, type RegexNode } from './regex-parser.js';
import { type CharSet, charClass, oneOf, Rules, repeat, sequence } from './rules.js';

type Emit = (set: CharSet) => string;

function expression(node: RegexNode, emit: Emit): string {
  switch (node.kind) {
    case 'set':
      return emit(node.set);
    case 'sequence':
      return sequence(node.items.map((item) => expression(item, emit)));
    case 'choice':
      return oneOf(node.options.map((option) => expression(option, emit)));
    case 'repeat':
      return repeat(expression(node.item, emit), node.min, node.max);
    default:
      return node satisfies never;
  }
}

/**
 * The node and all that comes behind it, `next`, as rules that each end where the text ends. The engine knows then when
 * it compiles which tokens fit; those that run past the end of a rule it would have to try one by one at run time.
 */
function leadingTo(node: RegexNode, next: string, rules: Rules): string {
  switch (node.kind) {
    case 'set':
      return rules.rule(sequence([charClass(node.set), next]));
    case 'sequence':
      return node.items.reduceRight((rest, item) => leadingTo(item, rest, rules), next);
    case 'choice':
      return rules.rule(oneOf(node.options.map((option) => leadingTo(option, next, rules))));
    case 'repeat':
      return repeated(node, next, rules);
    default:
      return node satisfies never;
  }
}

function repeated({ item, min, max }: RegexNode & { kind: 'repeat' }, next: string, rules: Rules): string {
  let rest = next;
  if (max === null) {
    rest = rules.reserve();
    rules.define(rest, oneOf([next, leadingTo(item, rest, rules)]));
  }
  for (let i = min; i < (max ?? min); i++) rest = rules.rule(oneOf([next, leadingTo(item, rest, rules)]));
  for (let i = 0; i < min; i++) rest = leadingTo(item, rest, rules);
  return rest;
}

/** Whether something within may be empty as often as one likes: rules would lead back to themselves. */
function loopsOnNothing(node: RegexNode): boolean {
  switch (node.kind) {
    case 'set':
      return false;
    case 'sequence':
      return node.items.some(loopsOnNothing);
    case 'choice':
      return node.options.some(loopsOnNothing);
    case 'repeat':
      return loopsOnNothing(node.item) || (node.max === null && lengthOf(node.item).min === 0);
    default:
      return node satisfies never;
  }
}

/** A grammar of the texts that match as a whole; anchors at their ends change nothing. */
export function patternGrammar(pattern: string): string {
  const options = parseRegex(pattern).map(({ node }) => node);
  const whole: RegexNode = { kind: 'choice', options };
  const rules = new Rules();
  if (loopsOnNothing(whole)) return rules.text(expression(whole, charClass));
  return rules.text(leadingTo(whole, rules.rule('""'), rules));
}

export type LengthBounds = { readonly min: number; readonly max: number | null };

/** Fewest and most characters of a match. */
function lengthOf(node: RegexNode): LengthBounds {
  const add = (a: number | null, b: number | null) => (a === null || b === null ? null : a + b);
  switch (node.kind) {
    case 'set':
      return { min: 1, max: 1 };
    case 'sequence':
      return node.items
        .map(lengthOf)
        .reduce((sum, next) => ({ min: sum.min + next.min, max: add(sum.max, next.max) }), { min: 0, max: 0 });
    case 'choice': {
      const all = node.options.map(lengthOf);
      const maxima = all.map(({ max }) => max);
      return {
        min: Math.min(...all.map(({ min }) => min)),
        max: maxima.includes(null) ? null : Math.max(...maxima.map((max) => max ?? 0)),
      };
    }
    case 'repeat': {
      const item = lengthOf(node.item);
      const max = node.max === null || item.max === null ? null : item.max * node.max;
      return { min: item.min * node.min, max: item.max === 0 ? 0 : max };
    }
    default:
      return node satisfies never;
  }
}

/** The same, no shorter and no longer than allowed; only a repetition of one character can be cut to measure. */
function fitted(node: RegexNode, bounds: LengthBounds): RegexNode {
  const { min, max } = lengthOf(node);
  if (min >= bounds.min && (bounds.max === null || (max !== null && max <= bounds.max))) return node;
  const only = node.kind === 'sequence' && node.items.length === 1 ? node.items[0] : node;
  if (only?.kind === 'repeat' && only.item.kind === 'set') {
    const most = Math.min(only.max ?? Number.POSITIVE_INFINITY, bounds.max ?? Number.POSITIVE_INFINITY);
    const cut = { ...only, min: Math.max(only.min, bounds.min), max: Number.isFinite(most) ? most : null };
    if (cut.max === null || cut.min <= cut.max) return cut;
  }
  throw new ConstraintError(
    "'pattern' allows texts that 'minLength' and 'maxLength' don't. Write the length into the pattern.",
  );
}

/**
 * The inside of a JSON string whose value contains a match of the pattern, as JSON Schema says: without anchors
 * anything may stand around it.
 */
export function jsonPattern(pattern: string, bounds: LengthBounds): string {
  const around: RegexNode = { kind: 'repeat', item: { kind: 'set', set: JSON_CHAR_SET }, min: 0, max: null };
  const whole = ({ node, fromStart, toEnd }: RegexAlternative): RegexNode =>
    fromStart && toEnd
      ? node
      : { kind: 'sequence', items: [...(fromStart ? [] : [around]), node, ...(toEnd ? [] : [around])] };
  return oneOf(parseRegex(pattern).map((alternative) => expression(fitted(whole(alternative), bounds), jsonChars)));
}
