/** The transforms that a recipe asks for, in their order. */
import { NibbleError } from '../errors.js';
import type { Recipe } from '../model/recipe-types.js';
import type { HeadShape } from './channel-factors.js';
import type { LayerTransform } from './layer.js';
import { scalingTransform } from './scaling.js';

/** Throws `recipe_invalid` for what can't be done. */
export function transformsOf(recipe: Recipe, shape: HeadShape): readonly LayerTransform[] {
  const refuse = (what: string) =>
    new NibbleError('recipe_invalid', { message: `${what} can't be made by this version` });
  const scaling = recipe.scaling === 'none' ? [] : [scalingTransform(recipe.scaling, shape)];
  if (recipe.tender !== undefined) throw refuse("'tender'");
  return scaling;
}
