import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { type GeneratedModel, writeGeneratedModel } from '../../src/model/generated/model.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { GgufValue } from '../../src/model/gguf-types.js';
import { nibbleMetadata } from '../../src/model/nibble-metadata.js';
import { resolveRecipe } from '../../src/quant/recipe.js';
import { tinySpec } from '../support/gguf-fixtures.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-metadata-'));
});
after(() => rm(folder, { recursive: true }));

const provenance = {
  sourceSha256: 'ab'.repeat(32),
  calibrationSha256: null,
  toolVersion: '0.1.0',
  seed: 2n ** 64n - 1n,
};

/** A model file with the keys of a recipe, changed by `edit`. */
async function modelWith(edit: (metadata: Map<string, GgufValue>) => void, settings: readonly string[] = []) {
  const recipe = await resolveRecipe('w4a8', settings);
  const model: GeneratedModel = {
    architecture: 'llama',
    spec: tinySpec(),
    seed: 1,
    edit: ({ metadata }) => {
      for (const [key, value] of nibbleMetadata(recipe, provenance)) metadata.set(key, value);
      edit(metadata);
    },
  };
  return { recipe, path: await writeGeneratedModel(join(folder, 'model.gguf'), model) };
}

const refuses = async (
  edit: (metadata: Map<string, GgufValue>) => void,
  code: string,
  settings?: readonly string[],
) => {
  const { path } = await modelWith(edit, settings);
  await assert.rejects(readModelFile(path), (error) => error instanceof NibbleError && error.code === code);
};

test('what is written is read: recipe, provenance, seeds of 64 bits', async () => {
  const { recipe, path } = await modelWith(() => undefined);
  assert.deepEqual((await readModelFile(path)).nibble, { formatVersion: 1, recipe, provenance });
  const calibrated = await modelWith((metadata) => {
    metadata.set('nibble.calibration.sha256', { type: 'string', value: 'cd'.repeat(32) });
  });
  assert.equal((await readModelFile(calibrated.path)).nibble?.provenance.calibrationSha256, 'cd'.repeat(32));
});

test('a file of another program has none; keys without a version mean nothing', async () => {
  const { path } = await modelWith((metadata) => metadata.delete('nibble.format_version'));
  assert.equal((await readModelFile(path)).nibble, null);
});

test('a newer format is refused by its own code, nonsense by others', async () => {
  const string = (value: string): GgufValue => ({ type: 'string', value });
  const version = (value: number): GgufValue => ({ type: 'u32', value });
  await refuses((m) => m.set('nibble.format_version', version(2)), 'model_format_version_unsupported');
  await refuses((m) => m.set('nibble.format_version', version(0)), 'model_metadata_invalid');
  await refuses((m) => m.set('nibble.format_version', string('1')), 'model_metadata_invalid');
  await refuses((m) => m.delete('nibble.recipe'), 'model_metadata_invalid');
  await refuses((m) => m.set('nibble.recipe', string('{}')), 'recipe_invalid');
  await refuses((m) => m.set('nibble.recipe', string('{"version":1')), 'recipe_invalid');
  await refuses((m) => m.set('nibble.recipe', string(' '.repeat(2 * 1024 * 1024))), 'model_metadata_invalid');
  await refuses((m) => m.set('nibble.source.sha256', string('short')), 'model_metadata_invalid');
  await refuses((m) => m.set('nibble.tool.version', string('\u001b[31m')), 'model_metadata_invalid');
  await refuses((m) => m.set('nibble.seed', version(1)), 'model_metadata_invalid');
  const beyond = [`layers.${tinySpec().layers}.qkv.weights=w8g32`];
  await refuses(() => undefined, 'recipe_invalid', beyond);
});
