/** What a recipe means for a model: the format of every tensor, and the order of the work. */
import { NibbleError } from '../errors.js';
import { forLayers, layerMatrix, layerRecipe, weightFormat } from '../model/recipe.js';
import {
  type LayerClass,
  type LinearRecipe,
  layerClasses,
  type Recipe,
  type WeightFormatName,
  weightFormatInfos,
} from '../model/recipe-types.js';
import type { ModelFile } from '../model/types.js';
import type { ArchitectureSpec, TensorSpec } from '../native/contract.js';
import { whyNot } from './rcp/reconstruction.js';
import { checkRotation } from './rcp/rotation.js';

export type PlannedTensor = {
  readonly source: TensorSpec;
  /** null: it stays as it is (norms, biases, and what is already in the format). */
  readonly format: WeightFormatName | null;
  /** The input that it reads; null: it isn't a matrix of a layer. */
  readonly matrixClass: LayerClass | null;
};

/** What is quantized and kept together: a layer, or everything else. */
export type PlannedPart = {
  /** Of the part's file, such as `layer-007`. */
  readonly name: string;
  readonly layer: number | null;
  readonly tensors: readonly PlannedTensor[];
};

export type Plan = {
  /** The recipe as this model can have it. */
  readonly recipe: Recipe;
  /** What differs from the recipe that was asked for, for people. */
  readonly notes: readonly string[];
  readonly parts: readonly PlannedPart[];
  /** Whether statistics of inputs are needed, and whether Σ x·xᵀ is among them. */
  readonly needs: { readonly statistics: boolean; readonly hessians: boolean };
};

/** Inputs of each class. */
export function inputsOf({ hidden, ffn, heads, headDim }: ArchitectureSpec): Readonly<Record<LayerClass, number>> {
  return { qkv: hidden, output: heads * headDim, gateUp: hidden, down: ffn };
}

/** The format, or one like it with groups that divide `inputs`. Every width is a multiple of 32. */
function fitting(name: WeightFormatName, inputs: number): WeightFormatName {
  const { group, bits } = weightFormat(name);
  if (group === null || inputs % group === 0) return name;
  const kind = (of: string) => /[a-z]*$/.exec(of)?.[0];
  const fits = weightFormatInfos.filter((other) => {
    return other.bits === bits && other.group !== null && inputs % other.group === 0 && kind(other.name) === kind(name);
  });
  const [best] = [...fits].sort((a, b) => (b.group ?? 0) - (a.group ?? 0));
  if (best === undefined) {
    throw new NibbleError('recipe_invalid', { message: `rows of ${inputs} weights aren't whole groups of ${name}` });
  }
  return best.name;
}

/** The recipe with groups that divide the model's widths, and a head that is the embedding like the embedding. */
function fitRecipe(wanted: Recipe, file: ModelFile): Pick<Plan, 'recipe' | 'notes'> {
  const recipe = forLayers(wanted, file.architecture.layers);
  const widths = inputsOf(file.architecture);
  const notes = new Set<string>();
  const fit = <T extends { readonly weights: WeightFormatName }>(what: string, linear: T, inputs: number): T => {
    const weights = fitting(linear.weights, inputs);
    if (weights !== linear.weights)
      notes.add(`${what}: ${weights}, since ${inputs} inputs aren't whole groups of ${linear.weights}`);
    return { ...linear, weights };
  };
  const fitLayer = <T extends Partial<Record<LayerClass, LinearRecipe>>>(where: string, linears: T): T => {
    const fitted = layerClasses.flatMap((name) => {
      const linear = linears[name];
      return linear === undefined ? [] : [[name, fit(`${where}${name}`, linear, widths[name])]];
    });
    return { ...linears, ...Object.fromEntries(fitted) };
  };
  const { hidden } = file.architecture;
  const classes = fitLayer('', recipe.classes);
  const embedding = fit('embedding', classes.embedding, hidden);
  const isTied = !file.tensors.some(({ name }) => name === 'output.weight');
  const head = isTied ? { ...classes.head, weights: embedding.weights } : fit('head', classes.head, hidden);
  if (isTied && head.weights !== classes.head.weights) notes.add(`head: ${head.weights}, since it is the embedding`);
  const layers = Object.fromEntries(
    Object.entries(recipe.layers ?? {}).map(([layer, linears]) => [layer, fitLayer(`layer ${layer}, `, linears)]),
  );
  const overrides = recipe.layers === undefined ? {} : { layers };
  return { recipe: { ...recipe, classes: { ...classes, head, embedding }, ...overrides }, notes: [...notes] };
}

function planTensor(recipe: Recipe, source: TensorSpec, changesChannels: boolean): PlannedTensor {
  const matrix = layerMatrix(source.name);
  const kept = (format: WeightFormatName): WeightFormatName | null =>
    weightFormat(format).tensorType === source.type && !(changesChannels && matrix !== null) ? null : format;
  if (matrix !== null) {
    const { weights } = layerRecipe(recipe, matrix.layer)[matrix.matrixClass];
    return { source, format: kept(weights), matrixClass: matrix.matrixClass };
  }
  const { embedding, head } = recipe.classes;
  if (source.name === 'token_embd.weight') return { source, format: kept(embedding.weights), matrixClass: null };
  if (source.name === 'output.weight') return { source, format: kept(head.weights), matrixClass: null };
  return { source, format: null, matrixClass: null };
}

/** The recipe without reconstruction, where the model's blocks can't have it. */
function withoutReconstruction(
  fitted: Pick<Plan, 'recipe' | 'notes'>,
  file: ModelFile,
): Pick<Plan, 'recipe' | 'notes'> {
  const { reconstruction, ...recipe } = fitted.recipe;
  const why = whyNot(file.architecture);
  if (reconstruction === undefined || (why === null && reconstruction.steps > 0)) return fitted;
  return { recipe, notes: why === null ? fitted.notes : [...fitted.notes, `no reconstruction: ${why}`] };
}

/** Throws `recipe_invalid` if the model can't have the recipe. */
export function makePlan(wanted: Recipe, file: ModelFile): Plan {
  const { recipe, notes } = withoutReconstruction(fitRecipe(wanted, file), file);
  checkRotation(recipe, file.architecture);
  const changesChannels = recipe.scaling !== 'none' || recipe.tender !== undefined || recipe.rotation !== undefined;
  const tensors = file.tensors.map((source) => planTensor(recipe, source, changesChannels));
  const layerOf = ({ source }: PlannedTensor) => Number(/^blk\.(\d+)\./.exec(source.name)?.[1] ?? -1);
  const layers = Array.from({ length: file.architecture.layers }, (_, layer) => ({
    name: `layer-${String(layer).padStart(3, '0')}`,
    layer,
    tensors: tensors.filter((tensor) => layerOf(tensor) === layer),
  }));
  const rest = { name: 'other', layer: null, tensors: tensors.filter((tensor) => layerOf(tensor) === -1) };
  const rounds = tensors.some(({ format, matrixClass }) => {
    return format !== null && matrixClass !== null && weightFormat(format).bits < 16;
  });
  const hessians = rounds && (recipe.rounding === 'gptq' || recipe.scaling === 'awq');
  const hasAgile = recipe.agile !== undefined;
  const needsRanges = recipe.scaling !== 'none' || recipe.tender !== undefined;
  const statistics =
    hessians || needsRanges || hasAgile || recipe.reconstruction !== undefined || (rounds && recipe.clip === 'mse');
  return { recipe, notes, parts: [...layers, rest], needs: { statistics, hessians } };
}
