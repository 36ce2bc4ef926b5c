/** Recipes that go by a name. */
import type { ActivationKindName, Recipe, WeightFormatName } from '../model/recipe-types.js';

/** What a recipe says where it doesn't say otherwise. */
export const recipeDefaults = {
  version: 1,
  rounding: 'rtn',
  clip: 'none',
  scaling: 'none',
  calibration: { source: 'self', tokens: 16_384, window: 512, seed: 1 },
} as const satisfies Partial<Recipe>;

type Changes = Partial<Omit<Recipe, 'version' | 'name' | 'classes'>>;

/** All layers alike; like most quantized files, embedding and head keep 8 bits where the layers have fewer. */
function uniform(
  name: string,
  weights: WeightFormatName,
  activations: ActivationKindName,
  changes: Changes = {},
): Recipe {
  const layer = { weights, activations };
  const isFloat = weights === 'f32' || weights === 'f16' || weights === 'bf16';
  const ends = isFloat ? weights : 'w8g32';
  const headActivations = activations === 'f32' ? 'f32' : 'a8';
  const classes = {
    ...{ qkv: layer, output: layer, gateUp: layer, down: layer },
    head: { weights: ends, activations: headActivations },
    embedding: { weights: ends },
  } as const;
  return { ...recipeDefaults, name, classes, ...changes };
}

const gptq = { rounding: 'gptq', actOrder: true, damping: 0.01, clip: 'mse', sweeps: 4 } as const;

// Three of a layer's four inputs may have 4 bits: 14 % of the tokens are a tenth of all rows.
function agile(): Recipe {
  const base = uniform('agile', 'w4g32a', 'agile', { ...gptq, agile: { share: 0.14 } });
  return { ...base, classes: { ...base.classes, qkv: { weights: 'w4g32a', activations: 'a8' } } };
}

/**
 * 4.8 bits a weight of the layers. The fifth bit goes to q, k and v, the most sensitive by far for their size, to gate
 * and up near the end, more sensitive the later, and to `down` at both ends, where a few channels are huge.
 */
function w4mix(): Recipe {
  const base = uniform('w4mix', 'w4g64a', 'a8', gptq);
  const fine = { weights: 'w5g32', activations: 'a8' } as const;
  const spans = [
    { from: 0, to: 1 / 15, down: fine },
    { from: 0.8, to: 1, gateUp: fine },
    { from: 14 / 15, to: 1, down: fine },
  ];
  return { ...base, classes: { ...base.classes, qkv: fine }, spans };
}

const tender = (bits: 4 | 8) => ({ groups: bits === 8 ? 4 : 8, bits, chunkTokens: 256, steps: 'token' }) as const;

// Feedback in the order of the file's inputs: behind a rotation no input is larger than the others.
const rcp = {
  ...gptq,
  actOrder: false,
  levels: 'learned',
  rotation: 'inputs',
  reconstruction: { steps: 256, tokens: 1024 },
  // What is learned from a fourth of it is true of that fourth alone.
  calibration: { ...recipeDefaults.calibration, tokens: 65_536 },
} as const;

const all: readonly (readonly [Recipe, string])[] = [
  [uniform('f16', 'f16', 'f32'), 'weights in 16-bit floats'],
  [uniform('w8a16', 'w8g32', 'f32'), '8-bit weights, float activations'],
  [uniform('w8a8', 'w8g32', 'a8'), '8-bit weights and activations'],
  [uniform('w4a16', 'w4g32a', 'f32', gptq), '4-bit weights in affine groups of 32, float activations'],
  [uniform('w4a8', 'w4g32a', 'a8', gptq), '4-bit weights in affine groups of 32, 8-bit activations'],
  [uniform('w4a8-sym', 'w4g32', 'a8', gptq), '4-bit weights in symmetric groups of 32 (the size of Q4_0)'],
  [uniform('w4a8-g64', 'w4g64a', 'a8', gptq), '4-bit weights in affine groups of 64'],
  [uniform('w4a8-g128', 'w4g128a', 'a8', gptq), '4-bit weights in affine groups of 128'],
  [w4mix(), '4.8 bits: 5 for q, k and v, for the last gate and up, and for `down` at both ends'],
  [uniform('w4a4', 'w4g32a', 'a4', gptq), '4-bit weights and activations'],
  [agile(), '8-bit activations, 4 bits for rows of tokens that rest on the first one'],
  [uniform('tender-int8', 'w8row', 'tender8', { tender: tender(8) }), '8 bits in groups of channels'],
  [uniform('rcp-w2a16', 'w2g64c', 'f32', rcp), 'rotated; 2 bits choose among four learned levels of a group of 64'],
  [uniform('rcp-w2a4', 'w2g64c', 'a4', rcp), 'the same with 4-bit activations'],
  [uniform('rcp-w2a4kv4', 'w2g64c', 'a4', { ...rcp, kv: 'kv4' }), 'the same with 4-bit keys and values, too'],
  [uniform('tender-int4', 'w4row', 'tender4', { tender: tender(4) }), '4 bits in groups of channels'],
  [uniform('lut-w4', 'w4g64p', 'a8', gptq), '4-bit planes in groups of 64, computed by tables'],
  [uniform('lut-w3', 'w3g64', 'a8', gptq), '3-bit planes in groups of 64, computed by tables'],
  [uniform('lut-w2', 'w2g64', 'a8', gptq), '2-bit planes in groups of 64, computed by tables'],
  [uniform('lut-w1', 'w1g64', 'a8', gptq), 'one bit in groups of 64, computed by tables'],
  [uniform('ternary', 't2g64', 'a8', gptq), 'weights −d, 0 and d in groups of 64, computed by tables'],
];

/** Every named recipe, with a line that says what it is. */
export const namedRecipes: ReadonlyMap<string, { readonly recipe: Recipe; readonly about: string }> = new Map(
  all.map(([recipe, about]) => [recipe.name, { recipe, about }]),
);
