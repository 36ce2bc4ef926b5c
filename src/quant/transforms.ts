/** The transforms that a recipe asks for, in their order. */
import { NibbleError } from '../errors.js';
import type { Recipe } from '../model/recipe-types.js';
import type { LayerTransform } from './layer.js';

/** Throws `recipe_invalid` for what can't be done. */
export function transformsOf(recipe: Recipe): readonly LayerTransform[] {
  const refuse = (what: string) =>
    new NibbleError('recipe_invalid', { message: `${what} can't be made by this version` });
  if (recipe.scaling !== 'none') throw refuse(`scaling '${recipe.scaling}'`);
  if (recipe.tender !== undefined) throw refuse("'tender'");
  return [];
}
