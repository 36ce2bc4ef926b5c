import { GRAMMAR_NESTING_MAX, GRAMMAR_REPEAT_MAX } from '../../limits.js';
import { ConstraintError, type Frame } from '../types.js';
import { areDisjoint, outlineOf } from './disjoint.js';
import { patternOfFormat } from './formats.js';
import { amidText } from './free-text.js';
import { COMMA, QUOTE } from './json-text.js';
import {
  checkKeywords,
  count,
  fail,
  hasType,
  isObject,
  type JsonObject,
  type JsonType,
  limits,
  number,
  typesOf,
} from './keywords.js';
import { ANY_INTEGER, ANY_NUMBER, type Bound, integerRange, numberRange } from './numbers.js';
import { objectOf, type Property } from './objects.js';
import { jsonPattern } from './regex.js';
import { literal, oneOf, Rules, repeat, sequence } from './rules.js';
import { stringOf } from './strings.js';

/**
 * Where a schema stands: for messages, how deep, which rules of `$ref`s were entered since the last bracket, and the
 * schema with an `$id` around it (or the outermost), which pointers start at.
 */
type Place = {
  readonly path: string;
  readonly depth: number;
  readonly refs: readonly string[];
  readonly base: unknown;
};

const within = (place: Place, key: string): Place => ({
  path: `${place.path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`,
  depth: place.depth + 1,
  refs: [],
  base: place.base,
});

/**
 * A JSON Schema (draft 2020-12, and what of draft 7 means the same) as a grammar of JSON texts on one line. Every text
 * it allows is valid; not every valid value is reachable: properties come in the schema's order, and an object that
 * lists properties has no others unless `additionalProperties` says so. Throws ConstraintError for a keyword that it
 * can't enforce.
 */
export function schemaGrammar(text: string, frame: Frame | null): string {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch {
    throw new ConstraintError('The schema is not JSON.');
  }
  return new Converter(schema).grammar(frame);
}

/** Any JSON object. */
export const objectGrammar = (): string => new Converter({ type: 'object' }).grammar(null);

class Converter {
  readonly #root: unknown;
  readonly #rules = new Rules();
  /** By the schema that they lead to. */
  readonly #refs = new Map<unknown, string>();
  #anyValue: string | null = null;

  constructor(root: unknown) {
    this.#root = root;
  }

  grammar(frame: Frame | null): string {
    const value = this.#visit(this.#root, { path: '#', depth: 0, refs: [], base: this.#root });
    if (frame === null) return this.#rules.text(value);
    if (frame.mark !== undefined) return this.#rules.text(amidText(value, frame.mark, frame.end, this.#rules));
    const one = this.#rules.rule(sequence([value, literal(frame.end)]));
    const more = frame.between === null ? [] : [repeat(sequence([literal(frame.between), one]), 0, null)];
    return this.#rules.text(sequence([one, ...more]));
  }

  #visit(schema: unknown, around: Place): string {
    const place = startsAnew(schema) ? { ...around, path: `${schema.$id}#`, base: schema } : around;
    const { path, depth } = place;
    if (depth > GRAMMAR_NESTING_MAX) fail(path, `it is nested more than ${GRAMMAR_NESTING_MAX} deep.`);
    if (schema === true) return this.#any();
    if (schema === false) return fail(path, 'no value fits it.');
    if (!isObject(schema)) return fail(path, 'a schema must be an object or a boolean.');
    checkKeywords(schema, path);
    const keys = limits(schema);
    const chooser = keys.find((key) => ['enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref'].includes(key));
    if (chooser === undefined) return this.#rules.rule(this.#typed(schema, place));
    const beside = keys.find((key) => key !== chooser);
    if (beside !== undefined) fail(path, `'${chooser}' beside '${beside}' isn't supported.`);
    switch (chooser) {
      case 'enum':
      case 'const':
        return this.#rules.rule(this.#values(schema, chooser, path));
      case '$ref':
        return this.#reference(schema, place);
      default:
        return this.#rules.rule(this.#alternatives(schema, chooser, place));
    }
  }

  #any(): string {
    if (this.#anyValue !== null) return this.#anyValue;
    this.#anyValue = this.#rules.reserve();
    const item = this.#anyValue;
    const list = oneOf([null, sequence([item, repeat(`(${COMMA} ${item})`, 0, null)])]);
    const kinds = [
      this.#rules.rule(objectOf([], { value: item, max: null }, this.#rules)),
      this.#rules.rule(sequence(['"["', list, '"]"'])),
      ...(['string', 'number', 'boolean', 'null'] as const).map((type) => this.#scalar({}, type, '#')),
    ];
    this.#rules.define(this.#anyValue, oneOf(kinds));
    return this.#anyValue;
  }

  #values(schema: JsonObject, key: 'enum' | 'const', path: string): string {
    const listed: unknown = key === 'const' ? [schema.const] : schema.enum;
    if (!Array.isArray(listed) || listed.length === 0) return fail(path, "'enum' must be a list that isn't empty.");
    const types = schema.type === undefined ? null : typesOf(schema, path);
    const fitting = listed.filter((value) => hasType(value, types));
    if (fitting.length === 0) fail(path, `no value of '${key}' has the type asked for.`);
    return oneOf(fitting.map((value) => literal(JSON.stringify(value))));
  }

  /** The schema that a reference leads to, and the one that pointers within it start at. */
  #resolve(ref: unknown, { path, base }: Pick<Place, 'path' | 'base'>): { target: unknown; base: unknown } {
    if (typeof ref !== 'string' || !/^#(\/|$)/.test(ref))
      return fail(path, "'$ref' must begin with '#', within the schema.");
    let target = base;
    let around = base;
    for (const step of ref.split('/').slice(1)) {
      const key = decodeStep(step) ?? fail(path, "'$ref' is malformed.");
      const known = (isObject(target) || Array.isArray(target)) && Object.hasOwn(target, key);
      if (!known) fail(path, `'$ref' ${JSON.stringify(ref.slice(0, 100))} leads nowhere.`);
      target = (target as JsonObject)[key];
      around = baseWithin(target, around);
    }
    return { target, base: around };
  }

  #reference(schema: JsonObject, place: Place): string {
    const { target, base } = this.#resolve(schema.$ref, place);
    const known = this.#refs.get(target);
    if (known !== undefined) {
      if (place.refs.includes(known)) fail(place.path, "'$ref' leads back to itself.");
      return known;
    }
    const rule = this.#rules.reserve();
    this.#refs.set(target, rule);
    const path = String(schema.$ref);
    const refs = [...place.refs, rule];
    this.#rules.define(rule, this.#visit(target, { path, depth: place.depth + 1, refs, base }));
    return rule;
  }

  /** `type` beside the alternatives holds for each that doesn't say its own. */
  #alternatives(schema: JsonObject, key: string, place: Place): string {
    const { path, depth } = place;
    const list = schema[key];
    if (!Array.isArray(list) || list.length === 0) return fail(path, `'${key}' must be a list that isn't empty.`);
    if (key === 'allOf' && list.length > 1) fail(path, "'allOf' of several schemas isn't supported; merge them.");
    const options = list.map((option: unknown) =>
      isObject(option) && schema.type !== undefined && !Object.hasOwn(option, '$ref')
        ? { type: schema.type, ...option }
        : option,
    );
    if (key === 'oneOf') this.#checkDisjoint(options, place);
    return oneOf(
      options.map((option, i) => this.#visit(option, { ...place, path: `${path}/${key}/${i}`, depth: depth + 1 })),
    );
  }

  #checkDisjoint(options: readonly unknown[], { path, base }: Place): void {
    const resolved = (schema: unknown, from: unknown, hops = 8): { schema: JsonObject | null; base: unknown } => {
      const within = baseWithin(schema, from);
      if (!isObject(schema)) return { schema: null, base: within };
      if (!Object.hasOwn(schema, '$ref') || hops === 0) return { schema, base: within };
      const next = this.#resolve(schema.$ref, { path, base: within });
      return resolved(next.target, next.base, hops - 1);
    };
    const outlines = options.map((option) => {
      const at = resolved(option, base);
      return outlineOf(at.schema ?? {}, path, (property) => resolved(property, at.base).schema);
    });
    outlines.forEach((one, i) => {
      if (outlines.slice(0, i).every((other) => areDisjoint(one, other))) return;
      fail(
        path,
        "a value could fit several schemas of 'oneOf'. Use 'anyOf', or tell them apart by type or a constant.",
      );
    });
  }

  #typed(schema: JsonObject, place: Place): string {
    const types = typesOf(schema, place.path);
    if (types === null) return this.#any();
    return oneOf(types.map((type) => this.#ofType(schema, type, place)));
  }

  #ofType(schema: JsonObject, type: JsonType, place: Place): string {
    if (type === 'object') return this.#object(schema, place);
    if (type === 'array') return this.#array(schema, place);
    return this.#scalar(schema, type, place.path);
  }

  #scalar(schema: JsonObject, type: Exclude<JsonType, 'object' | 'array'>, path: string): string {
    switch (type) {
      case 'null':
        return '"null"';
      case 'boolean':
        return '("true" | "false")';
      case 'string':
        return this.#string(schema, path);
      default:
        return this.#rules.rule(numberText(schema, type, path));
    }
  }

  #string(schema: JsonObject, path: string): string {
    const bounds = { min: count(schema, 'minLength', path) ?? 0, max: count(schema, 'maxLength', path) };
    checkBounds(bounds.min, bounds.max, path, 'Length');
    const { pattern } = schema;
    const ofFormat = patternOfFormat(schema.format);
    if (pattern !== undefined && ofFormat !== null) fail(path, "'pattern' beside 'format' isn't supported.");
    if (pattern !== undefined && typeof pattern !== 'string') fail(path, "'pattern' must be a string.");
    const regex = typeof pattern === 'string' ? pattern : ofFormat;
    if (regex === null) return stringOf(bounds.min, bounds.max, this.#rules);
    try {
      return this.#rules.rule(sequence([QUOTE, jsonPattern(regex, bounds), QUOTE]));
    } catch (error) {
      if (error instanceof ConstraintError)
        throw new ConstraintError(`At '${path}': ${error.message}`, error.isTooComplex);
      throw error;
    }
  }

  #object(schema: JsonObject, place: Place): string {
    const { path } = place;
    const declared = schema.properties ?? {};
    const required: unknown = schema.required ?? [];
    if (!isObject(declared)) return fail(path, "'properties' must be an object.");
    if (!Array.isArray(required) || !required.every((name): name is string => typeof name === 'string')) {
      return fail(path, "'required' must be a list of strings.");
    }
    const names = Object.keys(declared);
    const others = schema.additionalProperties ?? names.length + required.length === 0;
    const undeclared = [...new Set(required)].filter((name) => !Object.hasOwn(declared, name));
    if (others === false && undeclared.length > 0) {
      fail(path, `'required' names ${JSON.stringify(undeclared[0]?.slice(0, 64))}, which isn't among 'properties'.`);
    }
    const other = others === false ? null : this.#visit(others, within(place, 'additionalProperties'));
    const properties = names.map(
      (name): Property => ({
        name,
        value: this.#visit(declared[name], within(within(place, 'properties'), name)),
        isRequired: required.includes(name),
      }),
    );
    for (const name of undeclared) properties.push({ name, value: other ?? '', isRequired: true });
    const max = this.#propertiesMax(schema, properties, other !== null, path);
    return objectOf(properties, other === null ? null : { value: other, max }, this.#rules);
  }

  /** The most further properties; null: any number. */
  #propertiesMax(schema: JsonObject, properties: readonly Property[], hasOthers: boolean, path: string): number | null {
    const min = count(schema, 'minProperties', path) ?? 0;
    const max = count(schema, 'maxProperties', path);
    checkBounds(min, max, path, 'Properties');
    if (min > properties.filter(({ isRequired }) => isRequired).length) {
      fail(path, "'minProperties' above the number of required properties isn't supported.");
    }
    if (max === null || (!hasOthers && max >= properties.length)) return null;
    if (!hasOthers || max < properties.length)
      fail(path, "'maxProperties' below the number of properties isn't supported.");
    return max - properties.length;
  }

  #array(schema: JsonObject, place: Place): string {
    const { path } = place;
    const prefix: unknown = schema.prefixItems ?? [];
    if (!Array.isArray(prefix)) return fail(path, "'prefixItems' must be a list.");
    const min = count(schema, 'minItems', path) ?? 0;
    const max = count(schema, 'maxItems', path);
    checkBounds(min, max, path, 'Items');
    const items = schema.items ?? prefix.length === 0;
    const first = prefix
      .slice(0, max ?? prefix.length)
      .map((item: unknown, i) => this.#visit(item, within(within(place, 'prefixItems'), String(i))));
    const mostMore = max === null ? null : max - first.length;
    if (items === false || mostMore === 0) {
      if (min > first.length) fail(path, "'minItems' asks for more items than there can be.");
      return sequence(['"["', ...first.flatMap((item, i) => (i === 0 ? [item] : [COMMA, item])), '"]"']);
    }
    const item = this.#visit(items, within(place, 'items'));
    if (first.length === 0) {
      const some = sequence([
        item,
        repeat(`(${COMMA} ${item})`, Math.max(0, min - 1), mostMore === null ? null : mostMore - 1),
      ]);
      return sequence(['"["', min === 0 ? oneOf([null, some]) : some, '"]"']);
    }
    const more = repeat(`(${COMMA} ${item})`, Math.max(0, min - first.length), mostMore);
    return sequence(['"["', ...first.flatMap((own, i) => (i === 0 ? [own] : [COMMA, own])), more, '"]"']);
  }
}

/** A schema with an `$id` is a document of its own: pointers within it start there (JSON Schema 2020-12, 8.2.1). */
const startsAnew = (schema: unknown): schema is JsonObject =>
  isObject(schema) && typeof schema.$id === 'string' && !schema.$id.startsWith('#');
const baseWithin = (schema: unknown, around: unknown): unknown => (startsAnew(schema) ? schema : around);

function numberText(schema: JsonObject, type: 'number' | 'integer', path: string): string {
  const bound = (inclusive: string, exclusive: string, isTighter: (a: number, b: number) => boolean): Bound => {
    const [soft, hard] = [number(schema, inclusive, path), number(schema, exclusive, path)];
    if (hard !== null && (soft === null || !isTighter(soft, hard))) return { value: hard, isExclusive: true };
    return soft === null ? null : { value: soft, isExclusive: false };
  };
  const min = bound('minimum', 'exclusiveMinimum', (a, b) => a > b);
  const max = bound('maximum', 'exclusiveMaximum', (a, b) => a < b);
  if (min === null && max === null) return type === 'integer' ? ANY_INTEGER : ANY_NUMBER;
  try {
    return type === 'integer' ? integerRange(min, max) : numberRange(min, max);
  } catch (error) {
    return error instanceof ConstraintError ? fail(path, error.message) : fail(path, 'its bounds are too unusual.');
  }
}

function checkBounds(min: number, max: number | null, path: string, what: string): void {
  if (max !== null && min > max) fail(path, `'min${what}' is above 'max${what}'.`);
  if (Math.max(min, max ?? 0) > GRAMMAR_REPEAT_MAX) {
    throw new ConstraintError(
      `At '${path}': 'min${what}' and 'max${what}' may be at most ${GRAMMAR_REPEAT_MAX}.`,
      true,
    );
  }
}

function decodeStep(step: string): string | null {
  try {
    return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
  } catch {
    return null;
  }
}
