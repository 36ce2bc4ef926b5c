/** Checks recipes, wherever they come from, and says what they mean for each layer. */
import { Value } from 'typebox/value';
import { NibbleError } from '../errors.js';
import type { ActivationFormat, KvFormat, LayerLinears, LinearSpec, LoadOptions } from '../native/contract.js';
import {
  type ActivationKindName,
  type LayerClass,
  type LayerRecipe,
  type LinearRecipe,
  layerClasses,
  type MatrixClass,
  type Recipe,
  recipeSchema,
  type WeightFormatInfo,
  type WeightFormatName,
  weightFormatInfos,
} from './recipe-types.js';

const invalid = (message: string) => new NibbleError('recipe_invalid', { message }, { param: 'recipe' });

export function weightFormat(name: WeightFormatName): WeightFormatInfo {
  const found = weightFormatInfos.find((info) => info.name === name);
  if (found === undefined) throw invalid(`there is no weight format '${name}'`);
  return found;
}

const isFloat = (name: WeightFormatName) => weightFormat(name).bits >= 16;
const isRow = (name: WeightFormatName) => weightFormat(name).group === null && !isFloat(name);
const isTender = ({ activations }: LinearRecipe) => activations === 'tender8' || activations === 'tender4';

/** Pairs that mean something; `where` is the matrix class, with its layer for an override. */
function checkLinear(where: string, matrixClass: MatrixClass, linear: LinearRecipe, recipe: Recipe): void {
  const { weights, activations } = linear;
  const refuse = (why: string) => invalid(`${where}: ${weights} × ${activations}: ${why}`);
  if (isFloat(weights) && activations !== 'f32') throw refuse('float weights read f32 activations');
  if (isRow(weights) && !isTender(linear) && activations !== 'f32') {
    throw refuse('a scale for a whole row goes with tender8, tender4 or f32');
  }
  const isSpecial = isTender(linear) || activations === 'agile';
  if (matrixClass === 'head' && (isSpecial || isRow(weights))) throw refuse('the head reads a8, a4 or f32, in groups');
  if (matrixClass === 'qkv' && activations === 'agile') {
    throw refuse('which tokens matter is known behind the attention of a layer only');
  }
  if (activations === 'agile' && recipe.agile === undefined) throw refuse('needs "agile": {"share": …}');
  if (isTender(linear) && recipe.tender === undefined) throw refuse('needs "tender": {"groups": …, …}');
  if (isTender(linear) && !isRow(weights)) throw refuse('goes with a scale for a whole row');
}

/**
 * A recipe from an unknown value. Throws `recipe_invalid` with the place: what isn't in the schema, formats that don't
 * go together.
 */
export function parseRecipe(value: unknown): Recipe {
  if (!Value.Check(recipeSchema, value)) {
    const [first] = Value.Errors(recipeSchema, value);
    const place = first?.instancePath.slice(1).replaceAll('/', '.') ?? '';
    const allowed = first?.keyword === 'enum' ? `: ${first.params.allowedValues.join(', ')}` : '';
    const message = first?.keyword === 'boolean' ? 'is not known' : `${first?.message ?? 'is wrong'}${allowed}`;
    throw invalid(`${place === '' ? 'the recipe' : place.slice(0, 100)} ${message}`);
  }
  const { classes, layers = {}, spans = [] } = value;
  if (value.rotation !== undefined && (value.scaling !== 'none' || value.tender !== undefined)) {
    throw invalid('rotation mixes the channels that scaling and tender tell apart');
  }
  for (const name of [...layerClasses, 'head'] as const) checkLinear(name, name, classes[name], value);
  if (value.reconstruction !== undefined && value.rotation === undefined) {
    throw invalid('reconstruction goes with rotation');
  }
  if (isRow(classes.embedding.weights)) throw invalid('embedding: rows are read one by one; take groups or floats');
  const empty = spans.find(({ from, to }) => from >= to);
  if (empty !== undefined) throw invalid(`spans: nothing is from ${empty.from} to ${empty.to}`);
  const overrides = [
    ...Object.entries(layers).map(([layer, linears]) => [`layer ${layer}`, linears] as const),
    ...spans.map((span) => [`span ${span.from} to ${span.to}`, span] as const),
  ];
  for (const [where, linears] of overrides) {
    for (const name of layerClasses) {
      const linear = linears[name];
      if (linear !== undefined) checkLinear(`${where}, ${name}`, name, linear, value);
    }
  }
  return value;
}

/** `parseRecipe` of JSON text. */
export function parseRecipeText(text: string): Recipe {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('it is not JSON');
  }
  return parseRecipe(value);
}

/** What the recipe says for one layer. */
export function layerRecipe(recipe: Recipe, layer: number): LayerRecipe {
  const { qkv, output, gateUp, down } = recipe.classes;
  return { qkv, output, gateUp, down, ...recipe.layers?.[layer] };
}

/** What the spans say, as overrides of a model's layers. */
function withoutSpans({ spans, ...recipe }: Recipe, layers: number): Recipe {
  if (spans === undefined) return recipe;
  const overrides: NonNullable<Recipe['layers']> = {};
  for (let layer = 0; layer < layers; layer += 1) {
    const place = (layer + 0.5) / layers;
    const linears = spans.flatMap(({ from, to, ...classes }) => (from <= place && place < to ? [classes] : []));
    const merged = Object.assign({}, ...linears, recipe.layers?.[layer]);
    if (Object.keys(merged).length > 0) overrides[layer] = merged;
  }
  return { ...recipe, layers: overrides };
}

/**
 * The recipe as a model of `layers` layers has it: spans are layers. Throws `recipe_invalid` if it speaks of layers that
 * the model doesn't have.
 */
export function forLayers(recipe: Recipe, layers: number): Recipe {
  const beyond = Object.keys(recipe.layers ?? {}).find((layer) => Number(layer) >= layers);
  if (beyond !== undefined) throw invalid(`layer ${beyond}: the model has layers 0 to ${layers - 1}`);
  const { afterLayer = 0, stages = 0 } = recipe.pruning ?? {};
  if (afterLayer + stages < layers) return withoutSpans(recipe, layers);
  throw invalid(`pruning after layer ${afterLayer} in ${stages} stages: the model has ${layers} layers`);
}

/** What a model computes with: one format for all layers, or what the recipe in its file says. */
export type ModelActivations = ActivationFormat | 'recipe';

type WithRecipe = { readonly nibble: { readonly recipe: Recipe } | null };

/** `wanted` null: by the file; a file that has no recipe runs with a8. */
export const activationsOf = ({ nibble }: WithRecipe, wanted: ActivationFormat | null): ModelActivations =>
  wanted ?? (nibble === null ? 'a8' : 'recipe');

/** How keys and values are cached: as wanted, or by the file. */
export const kvOf = ({ nibble }: WithRecipe, wanted: KvFormat | null): KvFormat => wanted ?? nibble?.recipe.kv ?? 'f16';

const classOf: Readonly<Record<string, LayerClass>> = {
  attn_q: 'qkv',
  attn_k: 'qkv',
  attn_v: 'qkv',
  attn_output: 'output',
  ffn_gate: 'gateUp',
  ffn_up: 'gateUp',
  ffn_down: 'down',
};

/** The layer and class of a matrix by its GGUF name; null: it isn't a matrix of a layer. */
export function layerMatrix(tensor: string): { readonly layer: number; readonly matrixClass: LayerClass } | null {
  const [, layer = '', part = ''] = /^blk\.(\d{1,4})\.(\w+)\.weight$/.exec(tensor) ?? [];
  const matrixClass = classOf[part];
  return matrixClass === undefined ? null : { layer: Number(layer), matrixClass };
}

/** How the input of a matrix is read; any name that isn't of a layer means the head. */
export function activationsFor(file: WithRecipe, wanted: ActivationFormat | null, tensor: string): ActivationKindName {
  const all = activationsOf(file, wanted);
  if (all !== 'recipe' || file.nibble === null) return all === 'recipe' ? 'a8' : all;
  const matrix = layerMatrix(tensor);
  const { recipe } = file.nibble;
  if (matrix === null) return recipe.classes.head.activations;
  return layerRecipe(recipe, matrix.layer)[matrix.matrixClass].activations;
}

const linearSpec = ({ activations }: LinearRecipe): LinearSpec => ({ activations });

type Linears = Pick<LoadOptions, 'linears' | 'head' | 'agile'>;

/** What the engine is told of a model's linear layers: nothing where one format serves all. Throws `recipe_invalid`. */
export function linearsOf(file: WithRecipe, wanted: ActivationFormat | null, layers: number): Linears {
  if (file.nibble === null || wanted !== null) return {};
  const { recipe } = file.nibble;
  const linears = Array.from({ length: layers }, (_, layer): LayerLinears => {
    const { qkv, output, gateUp, down } = layerRecipe(recipe, layer);
    return {
      ...{ qkv: linearSpec(qkv), output: linearSpec(output) },
      ...{ gateUp: linearSpec(gateUp), down: linearSpec(down) },
    };
  });
  const thresholds = recipe.agile?.thresholds;
  if (linears.some((linear) => Object.values(linear).some(({ activations }) => activations === 'agile'))) {
    if (thresholds?.length !== layers) throw invalid('agile.thresholds: there must be one for each layer');
  }
  const agile = thresholds === undefined ? {} : { agile: { thresholds: Float32Array.from(thresholds) } };
  return { linears, head: linearSpec(recipe.classes.head), ...agile };
}
