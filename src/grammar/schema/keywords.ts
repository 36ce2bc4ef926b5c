import { ConstraintError } from '../types.js';

export type JsonObject = { readonly [key: string]: unknown };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type JsonType = (typeof TYPES)[number];

/** Keywords that limit values of one type, and are enforced. */
const BY_TYPE: Readonly<Record<string, JsonType>> = {
  properties: 'object',
  required: 'object',
  additionalProperties: 'object',
  minProperties: 'object',
  maxProperties: 'object',
  items: 'array',
  prefixItems: 'array',
  minItems: 'array',
  maxItems: 'array',
  minLength: 'string',
  maxLength: 'string',
  pattern: 'string',
  format: 'string',
  minimum: 'number',
  maximum: 'number',
  exclusiveMinimum: 'number',
  exclusiveMaximum: 'number',
};
const CHOOSING = ['enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref'] as const;

/** Keywords that limit values and that no grammar here expresses: ignoring them would break a promise. */
const REFUSED: ReadonlySet<string> = new Set([
  '$anchor',
  '$dynamicRef',
  '$recursiveRef',
  'additionalItems',
  'contains',
  'dependencies',
  'dependentRequired',
  'dependentSchemas',
  'else',
  'if',
  'maxContains',
  'minContains',
  'multipleOf',
  'not',
  'patternProperties',
  'propertyNames',
  'then',
  'unevaluatedItems',
  'unevaluatedProperties',
  'uniqueItems',
]);

export function fail(path: string, message: string): never {
  throw new ConstraintError(`The schema can't be used at '${path.slice(0, 200)}': ${message}`);
}

/** Values of a keyword that refuse nothing, as generators of schemas write them. */
const isIdle = (key: string, value: unknown): boolean =>
  (key === 'uniqueItems' && value === false) || (key === 'contains' && value === true);

/** Refuses what isn't enforced. Keywords that JSON Schema doesn't know limit nothing and are left alone. */
export function checkKeywords(schema: JsonObject, path: string): void {
  for (const [key, value] of Object.entries(schema)) {
    if (REFUSED.has(key) && !isIdle(key, value)) fail(path, `'${key}' isn't supported.`);
  }
}

/** The keywords of a schema that limit values, `type` left out. */
export function limits(schema: JsonObject): readonly string[] {
  const choosing: readonly string[] = CHOOSING;
  return Object.keys(schema).filter((key) => Object.hasOwn(BY_TYPE, key) || choosing.includes(key));
}

/** Types that a schema without `$ref` and the like names, or that its keywords are about; null if any is meant. */
export function typesOf(schema: JsonObject, path: string): readonly JsonType[] | null {
  const { type } = schema;
  if (type === undefined) {
    const implied = [
      ...new Set(Object.keys(schema).flatMap((key) => (Object.hasOwn(BY_TYPE, key) ? [BY_TYPE[key] as JsonType] : []))),
    ];
    return implied.length === 0 ? null : implied;
  }
  const names: readonly unknown[] = Array.isArray(type) ? type : [type];
  if (names.length === 0) fail(path, "'type' is empty.");
  return names.map((name) => TYPES.find((known) => known === name) ?? fail(path, "'type' names no type of JSON."));
}

export function count(schema: JsonObject, key: string, path: string): number | null {
  const value = schema[key];
  if (value === undefined) return null;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
    fail(path, `'${key}' must be an integer, 0 or more.`);
  return value;
}

export function number(schema: JsonObject, key: string, path: string): number | null {
  const value = schema[key];
  if (value === undefined) return null;
  if (typeof value !== 'number') fail(path, `'${key}' must be a number.`);
  return value;
}

export const typeOfValue = (value: unknown): JsonType => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value as 'object' | 'string' | 'boolean';
};

export const hasType = (value: unknown, types: readonly JsonType[] | null): boolean => {
  if (types === null) return true;
  const own = typeOfValue(value);
  return types.includes(own) || (own === 'integer' && types.includes('number'));
};
