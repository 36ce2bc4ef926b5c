import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import {
  activationsFor,
  forLayers,
  kvOf,
  layerMatrix,
  layerRecipe,
  parseRecipe,
  parseRecipeText,
} from '../../src/model/recipe.js';
import { layerClasses, weightFormatInfos } from '../../src/model/recipe-types.js';
import { namedRecipes } from '../../src/quant/named-recipes.js';
import { resolveRecipe } from '../../src/quant/recipe.js';

const invalid = (pattern: RegExp) => (error: unknown) =>
  error instanceof NibbleError && error.code === 'recipe_invalid' && pattern.test(error.message);

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-recipe-'));
});
after(() => rm(folder, { recursive: true }));

async function fileOf(content: unknown): Promise<string> {
  const path = join(folder, 'recipe.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

test('every named recipe passes its own check and survives JSON', () => {
  for (const name of [
    'f16',
    'w8a8',
    'w4a16',
    'w4a8',
    'w4a8-g64',
    'w4a8-g128',
    'w4mix',
    'agile',
    'tender-int8',
    'tender-int4',
    'rcp-w2a16',
    'rcp-w2a4',
    'rcp-w2a4kv4',
    'lut-w4',
    'lut-w3',
    'lut-w2',
    'lut-w1',
    'ternary',
  ]) {
    const found = namedRecipes.get(name);
    assert.ok(found, name);
    assert.deepEqual(parseRecipeText(JSON.stringify(found.recipe)), found.recipe);
  }
});

test('weight formats have names that say their bits and groups, and types of their own', () => {
  for (const { name, bits, group } of weightFormatInfos) {
    const [, width, size] = /^[wt](\d)g(\d+)[acp]?$/.exec(name) ?? [];
    if (width !== undefined) assert.deepEqual([bits, group], [Number(width), Number(size)], name);
    else assert.equal(group, null, name);
  }
  assert.equal(new Set(weightFormatInfos.map(({ tensorType }) => tensorType)).size, weightFormatInfos.length);
});

test('a file says what differs from a named recipe, and --set changes it further', async () => {
  const own = { extends: 'w4a16', name: 'mine', layers: { 2: { down: { weights: 'w8g32', activations: 'a8' } } } };
  const settings = ['classes.*.activations=a8', 'layers.5.qkv.weights=w5g32', 'damping=0.05', 'actOrder=false'];
  const recipe = await resolveRecipe(await fileOf(own), settings);
  assert.equal(recipe.name, 'mine');
  assert.equal(recipe.rounding, 'gptq');
  assert.deepEqual([recipe.damping, recipe.actOrder], [0.05, false]);
  for (const name of layerClasses) assert.deepEqual(recipe.classes[name], { weights: 'w4g32a', activations: 'a8' });
  assert.deepEqual(recipe.classes.head, { weights: 'w8g32', activations: 'f32' }, 'the head is no class of a layer');
  assert.deepEqual(layerRecipe(recipe, 2).down, { weights: 'w8g32', activations: 'a8' });
  assert.deepEqual(layerRecipe(recipe, 5).qkv, { weights: 'w5g32', activations: 'a8' }, 'what is not set stays');
  assert.deepEqual(layerRecipe(recipe, 4), layerRecipe(recipe, 0));
});

test('spans say what layers have by their place, whatever their number; single layers go before them', () => {
  const linear = (weights: 'w5g32' | 'w8g32') => ({ weights, activations: 'a8' });
  const recipe = parseRecipe({
    ...namedRecipes.get('w4a8')?.recipe,
    spans: [
      { from: 0.5, to: 1, gateUp: linear('w5g32'), down: linear('w5g32') },
      { from: 0.75, to: 1, down: linear('w8g32') },
    ],
    layers: { 7: { gateUp: linear('w8g32') } },
  });
  const bits = (layers: number, name: 'gateUp' | 'down') => {
    const own = forLayers(recipe, layers);
    assert.equal(own.spans, undefined);
    return Array.from({ length: layers }, (_, i) => layerRecipe(own, i)[name].weights[1]).join('');
  };
  // Of 8 layers number 4 is the first with its middle beyond 1/2, and 6 the first beyond 3/4; of 10, 5 and 8 (7.5/10
  // is where the span begins: number 7 has its middle there, so it is the first).
  assert.deepEqual([bits(8, 'gateUp'), bits(8, 'down')], ['44445558', '44445588']);
  assert.deepEqual([bits(10, 'gateUp'), bits(10, 'down')], ['4444455855', '4444455888']);
  const span = { from: 0.5, to: 0.5, down: linear('w8g32') };
  assert.throws(() => parseRecipe({ ...recipe, spans: [span] }), invalid(/nothing is from 0.5 to 0.5/));
  const broken = { from: 0, to: 1, qkv: { weights: 'f16', activations: 'a8' } };
  assert.throws(() => parseRecipe({ ...recipe, spans: [broken] }), invalid(/span 0 to 1, qkv/));
});

test('keys and values are cached as the command says, else as the file says, else in f16', () => {
  const recipeOf = (name: string) => {
    const recipe = namedRecipes.get(name)?.recipe;
    assert.ok(recipe);
    return { nibble: { recipe } };
  };
  assert.equal(kvOf(recipeOf('rcp-w2a4kv4'), null), 'kv4');
  assert.equal(kvOf(recipeOf('rcp-w2a4kv4'), 'f16'), 'f16');
  assert.equal(kvOf(recipeOf('rcp-w2a4'), null), 'f16');
  assert.equal(kvOf({ nibble: null }, 'kv8'), 'kv8');
});

test('rotation goes with neither scaling nor Tender', () => {
  const refused = (error: unknown) => error instanceof NibbleError && error.code === 'recipe_invalid';
  const rotated = structuredClone(namedRecipes.get('rcp-w2a4')?.recipe);
  for (const change of [{ scaling: 'awq' }, { tender: { groups: 4, bits: 8, chunkTokens: 256 } }]) {
    assert.throws(() => parseRecipe({ ...rotated, ...change }), refused);
  }
});

test('reconstruction goes with rotation', () => {
  const reconstruction = { steps: 2, tokens: 64 };
  assert.throws(
    () => parseRecipe({ ...namedRecipes.get('w4a8')?.recipe, reconstruction }),
    invalid(/reconstruction goes with rotation/),
  );
  assert.deepEqual(
    parseRecipe({ ...namedRecipes.get('rcp-w2a4')?.recipe, reconstruction }).reconstruction,
    reconstruction,
  );
});

test('a named recipe stays as it is when a copy is changed', async () => {
  const before = JSON.stringify(namedRecipes.get('w4a8')?.recipe);
  await resolveRecipe('w4a8', ['classes.down.weights=w8g32', 'name=other']);
  assert.equal(JSON.stringify(namedRecipes.get('w4a8')?.recipe), before);
});

test('what is not a recipe is refused with the place', async () => {
  const refused = (settings: readonly string[], pattern: RegExp) =>
    assert.rejects(resolveRecipe('w4a8', settings), invalid(pattern), settings.join(' '));
  await refused(['classes.qkv.weights=w3g32'], /classes\.qkv\.weights .*w4g32a/);
  await refused(['classes.mlp.weights=w4g32'], /classes\.mlp is not known/);
  await refused(['layers.x.qkv.weights=w4g32'], /layers\.x is not known/);
  await refused(['version=2'], /version/);
  await refused(['rounding'], /key=value/);
  await refused(['name=a b'], /name/);
  await refused(['damping=2'], /damping/);
  await refused(['__proto__.x=1'], /__proto__/);
  await assert.rejects(resolveRecipe('no-such-recipe'), invalid(/neither a file.*w4a8/));
  await assert.rejects(resolveRecipe(await fileOf('{"extends": "w9"}')), invalid(/"extends" must be one of/));
  await assert.rejects(resolveRecipe(await fileOf('{"name": "x"}')), invalid(/classes|required/));
  await assert.rejects(resolveRecipe(await fileOf('{')), invalid(/not valid JSON/));
  await assert.rejects(resolveRecipe(await fileOf('[]')), invalid(/not a JSON object/));
  assert.throws(() => parseRecipeText('nonsense'), invalid(/not JSON/));
  for (const value of [null, 1, 'w4a8', []]) assert.throws(() => parseRecipe(value), invalid(/./));
});

test('formats that do not go together are refused', async () => {
  const refused = (settings: readonly string[], pattern: RegExp) =>
    assert.rejects(resolveRecipe('w4a8', settings), invalid(pattern), settings.join(' '));
  await refused(['classes.down.weights=f16'], /down: f16 × a8: float weights/);
  await refused(['classes.down.weights=w8row'], /scale for a whole row/);
  await refused(['classes.down.activations=tender8'], /needs "tender"/);
  const tender = 'tender={"groups":4,"bits":8,"chunkTokens":256}';
  await refused([tender, 'classes.down.activations=tender8'], /w4g32a × tender8: goes with a scale for a whole row/);
  await refused(['classes.down.activations=agile'], /needs "agile"/);
  await refused(['agile={"share":0.1}', 'classes.qkv.activations=agile'], /behind the attention/);
  await refused(['agile={"share":0.1}', 'classes.head.activations=agile'], /the head/);
  await refused(['classes.embedding.weights=w8row'], /embedding/);
  await refused(['layers.7.down.weights=bf16'], /layer 7, down: bf16 × a8/);
});

test('a matrix is computed as its class and layer say; the command line overrides all', async () => {
  const settings = ['layers.1.down.activations=a8', 'classes.head.activations=a8'];
  const file = { nibble: { recipe: await resolveRecipe('w4a16', settings) } };
  assert.deepEqual(layerMatrix('blk.12.ffn_up.weight'), { layer: 12, matrixClass: 'gateUp' });
  assert.equal(layerMatrix('token_embd.weight'), null);
  assert.equal(activationsFor(file, null, 'blk.1.ffn_down.weight'), 'a8');
  assert.equal(activationsFor(file, null, 'blk.0.ffn_down.weight'), 'f32');
  assert.equal(activationsFor(file, null, 'blk.1.attn_v.weight'), 'f32');
  assert.equal(activationsFor(file, null, 'token_embd.weight'), 'a8');
  assert.equal(activationsFor(file, 'f32', 'blk.1.ffn_down.weight'), 'f32');
  assert.equal(activationsFor({ nibble: null }, null, 'blk.1.ffn_down.weight'), 'a8');
});
