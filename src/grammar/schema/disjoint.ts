import { type JsonObject, type JsonType, typeOfValue, typesOf } from './keywords.js';

/** What tells alternatives of `oneOf` apart: types of JSON values, the values listed, values of required properties. */
export type Outline = {
  readonly types: readonly JsonType[] | null;
  readonly values: readonly unknown[] | null;
  readonly tags: ReadonlyMap<string, readonly unknown[]>;
};

const listed = (schema: JsonObject): readonly unknown[] | null => {
  if (Object.hasOwn(schema, 'const')) return [schema.const];
  return Array.isArray(schema.enum) ? schema.enum : null;
};

/** @param schema resolved, no `$ref` @param property how to resolve a property's schema */
export function outlineOf(schema: JsonObject, path: string, property: (schema: unknown) => JsonObject | null): Outline {
  const values = listed(schema);
  const tags = new Map<string, readonly unknown[]>();
  const { properties, required } = schema;
  if (typeof properties === 'object' && properties !== null && Array.isArray(required)) {
    for (const [name, value] of Object.entries(properties)) {
      const own = property(value);
      const options = own === null ? null : listed(own);
      if (options !== null && required.includes(name)) tags.set(name, options);
    }
  }
  return { types: values?.map(typeOfValue) ?? typesOf(schema, path), values, tags };
}

const apart = (a: readonly unknown[], b: readonly unknown[]): boolean => {
  const texts = new Set(a.map((value) => JSON.stringify(value)));
  return b.every((value) => !texts.has(JSON.stringify(value)));
};

const kind = (type: JsonType) => (type === 'integer' ? 'number' : type);

/** Whether no value fits both. */
export function areDisjoint(a: Outline, b: Outline): boolean {
  if (a.types !== null && b.types !== null && apart(a.types.map(kind), b.types.map(kind))) return true;
  if (a.values !== null && b.values !== null && apart(a.values, b.values)) return true;
  return [...a.tags].some(([name, values]) => {
    const others = b.tags.get(name);
    return others !== undefined && apart(values, others);
  });
}
