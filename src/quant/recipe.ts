/** From what a user names, a recipe: a known name or a JSON file, and changes to it. */
import { readFile, stat } from 'node:fs/promises';
import { NibbleError } from '../errors.js';
import { RECIPE_BYTES_MAX } from '../limits.js';
import { parseRecipe } from '../model/recipe.js';
import { layerClasses, type Recipe } from '../model/recipe-types.js';
import { namedRecipes, recipeDefaults } from './named-recipes.js';

const invalid = (message: string, cause?: unknown) =>
  new NibbleError('recipe_invalid', { message }, { param: 'recipe', cause });

type Json = Record<string, unknown>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `over` on top of `base`, objects merged key by key. */
function merge(base: Json, over: Json): Json {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (key === '__proto__') throw invalid('the recipe has a key __proto__');
    const below = merged[key];
    merged[key] = isObject(value) && isObject(below) ? merge(below, value) : value;
  }
  return merged;
}

/** Sets `path` (keys with dots between) in a copy; `*` means every class of the layers. */
function set(target: Json, [key = '', ...rest]: readonly string[], value: unknown): Json {
  const keys = key === '*' ? layerClasses : [key];
  const values = keys.map((name) => {
    const below = target[name];
    return [name, rest.length === 0 ? value : set(isObject(below) ? below : {}, rest, value)] as const;
  });
  return merge(target, Object.fromEntries(values));
}

/** A new override of a layer starts as what the class says: only what differs has to be set. */
function startOverride(recipe: Json, [head, layer = '', name = '']: readonly string[]): Json {
  if (head !== 'layers' || !isObject(recipe.classes)) return recipe;
  const names = name === '*' ? layerClasses : [name];
  const starts = Object.fromEntries(names.map((each) => [each, isObject(recipe.classes) ? recipe.classes[each] : {}]));
  const { layers } = merge({ layers: { [layer]: starts } }, { layers: recipe.layers ?? {} });
  return { ...recipe, layers };
}

/** One `--set key=value`; the value is JSON, or else text. Throws `recipe_invalid`. */
function change(recipe: Json, setting: string): Json {
  const [, key = '', text = ''] = /^([\w*.]{1,200})=(.*)$/s.exec(setting) ?? [];
  if (key === '') throw invalid(`"${setting.slice(0, 100)}" is not key=value, such as classes.down.weights=w8g32`);
  const path = key.split('.');
  if (path.includes('__proto__')) throw invalid('the recipe has a key __proto__');
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // Text without quotes is meant as it stands.
  }
  return set(startOverride(recipe, path), path, value);
}

async function readRecipeFile(path: string): Promise<Json> {
  let value: unknown;
  try {
    const { size } = await stat(path);
    if (size > RECIPE_BYTES_MAX) throw invalid(`${path} has ${size} bytes; the limit is ${RECIPE_BYTES_MAX}`);
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof NibbleError) throw cause;
    const names = [...namedRecipes.keys()].join(', ');
    throw cause instanceof SyntaxError
      ? invalid(`${path} is not valid JSON: ${cause.message}`, cause)
      : invalid(`'${path}' is neither a file that can be read nor one of: ${names}`, cause);
  }
  if (!isObject(value)) throw invalid(`${path} is not a JSON object`);
  const { extends: parent, ...own } = value;
  if (parent === undefined) return merge(recipeDefaults, own);
  const base = typeof parent === 'string' ? namedRecipes.get(parent)?.recipe : undefined;
  if (base === undefined) throw invalid(`${path}: "extends" must be one of: ${[...namedRecipes.keys()].join(', ')}`);
  return merge(base, own);
}

/**
 * The recipe of that name, or of that file; a file may say `"extends": "w4a8"` and only what differs. `settings` are
 * `key=value` with dots between keys. Throws `recipe_invalid`.
 */
export async function resolveRecipe(nameOrPath: string, settings: readonly string[] = []): Promise<Recipe> {
  const start: Json = namedRecipes.get(nameOrPath)?.recipe ?? (await readRecipeFile(nameOrPath));
  return parseRecipe(settings.reduce(change, start));
}
