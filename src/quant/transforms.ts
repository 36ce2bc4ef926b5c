/** The transforms that a recipe asks for, in their order. */
import type { Recipe } from '../model/recipe-types.js';
import type { HeadShape } from './channel-factors.js';
import type { LayerTransform } from './layer.js';
import { rotationTransform } from './rcp/rotation.js';
import { scalingTransform } from './scaling.js';
import { tenderTransform } from './tender/layer-transform.js';

export function transformsOf(recipe: Recipe, shape: HeadShape): readonly LayerTransform[] {
  if (recipe.rotation !== undefined) return [rotationTransform(shape, recipe.rotation)];
  const scaling = recipe.scaling === 'none' ? [] : [scalingTransform(recipe.scaling, shape)];
  return recipe.tender === undefined ? scaling : [...scaling, tenderTransform(recipe)];
}
