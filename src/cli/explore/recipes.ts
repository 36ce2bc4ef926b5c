/** What recipes ask of hardware. */

import { basename } from 'node:path';
import type { SweepRecipe } from '../../cost/explore/sweep.js';
import { NibbleError } from '../../errors.js';
import { readModelFile } from '../../model/gguf.js';
import { findTensorFormat } from '../../model/gguf-types.js';
import { weightFormat } from '../../model/recipe.js';
import type { ActivationKindName, Recipe, WeightFormatName } from '../../model/recipe-types.js';
import { namedRecipes } from '../../quant/named-recipes.js';

const activationBits: Readonly<Partial<Record<ActivationKindName, number>>> = {
  ...{ f32: 16, a8: 8, a4: 4, agile: 8, tender8: 8, tender4: 4 },
};

/** Bits of a weight in the file, with what its group needs. */
function storedBits(name: WeightFormatName): number {
  const format = findTensorFormat(weightFormat(name).tensorType);
  return format === null ? weightFormat(name).bits : (8 * format.blockBytes) / format.blockElements;
}

export function namedRecipe(name: string): Recipe {
  const found = namedRecipes.get(name)?.recipe;
  if (found !== undefined) return found;
  const known = [...namedRecipes.keys()].join(', ');
  throw new NibbleError('recipe_invalid', { message: `'${name}' is none of: ${known}` }, { param: 'space' });
}

/** A recipe that competes: a named one, made quickly, or that of a file that was made with care. */
export type Candidate = { readonly name: string; readonly recipe: Recipe; readonly file: string | null };

/** Throws `recipe_invalid` for what is neither a known name nor a file that says its recipe. */
export async function readCandidate(text: string): Promise<Candidate> {
  if (!/\.gguf$/i.test(text)) return { name: text, recipe: namedRecipe(text), file: null };
  const recipe = (await readModelFile(text)).nibble?.recipe;
  if (recipe !== undefined && recipe !== null) return { name: basename(text, '.gguf'), recipe, file: text };
  throw new NibbleError('recipe_invalid', { message: `${text} doesn't say how it was quantized` }, { param: 'space' });
}

/** The hardware's side of a recipe; its error has been measured. */
export function sweepRecipe({ name, recipe }: Pick<Candidate, 'name' | 'recipe'>, error: number): SweepRecipe {
  const { weights, activations } = recipe.classes.down;
  const isTender = activations === 'tender8' || activations === 'tender4';
  return {
    name,
    error,
    // Codes of a codebook choose among levels of 8 bits, which is what is multiplied with.
    weightBits: weights.endsWith('c') ? 8 : weightFormat(weights).bits,
    storedWeightBits: storedBits(weights),
    activationBits: activationBits[activations] ?? 8,
    headBits: weightFormat(recipe.classes.embedding.weights).bits,
    scheme: activations === 'f32' ? 'float' : isTender ? 'channels' : 'groups',
    ...(recipe.tender === undefined ? {} : { channelGroups: recipe.tender.groups }),
  };
}

/**
 * The recipe without what takes minutes: rounded to nearest, calibrated on little. Errors are upper bounds of what
 * `nibble quantize` reaches.
 */
export function quickRecipe(recipe: Recipe): Recipe {
  const { actOrder: _, damping: _damping, sweeps: _sweeps, ...kept } = recipe;
  return {
    ...{ ...kept, rounding: 'rtn', clip: 'none', scaling: 'none' },
    calibration: { source: 'self', tokens: 2048, window: 256, seed: 1 },
  };
}
