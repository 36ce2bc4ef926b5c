/** `nibble quantize` on the default model, as a user runs it: the file runs, and says what it is. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { defaultModelPath } from '../support/default-model.js';
import { outcome, spawnNibble } from '../support/real-server.js';

let folder = '';
let out = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-real-quantize-'));
  out = join(folder, 'w8a8.gguf');
});
after(() => rm(folder, { recursive: true, force: true }));

const nibble = async (...args: readonly string[]) => outcome(spawnNibble(args, { NIBBLE_PACK_CACHE_MB: '0' }));

test('a fast recipe gives a file that speaks like the source', async () => {
  const model = await defaultModelPath();
  const made = await nibble('quantize', '--model', model, '--recipe', 'w8a8', '--out', out);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /w8a8\.gguf: w8a8, /);
  const said = await nibble('generate', 'The capital of France is', '--max-tokens', '8', '--model', out);
  assert.match(said.stdout, /Paris/, said.stderr);
});

test('inspect tells what is in it', async () => {
  const { stdout, stderr } = await nibble('inspect', out, '--json');
  const told = JSON.parse(stdout || stderr);
  assert.equal(told.recipe.name, 'w8a8');
  assert.equal(told.formatVersion, 1);
  const layers = told.formats.filter(({ layers: range }: { layers: string }) => range === '0-29');
  for (const { matrixClass, type, kernels } of layers) {
    if (matrixClass !== 'vectors') assert.deepEqual([type, kernels], ['Q8_0', 'w8a8'], matrixClass);
  }
});

test('what exists is not replaced, and wrong usage is told as such', async () => {
  const again = await nibble('quantize', '--model', out, '--recipe', 'w8a8', '--out', out);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^nibble: output_exists: /);
  const unknown = await nibble('quantize', '--model', out, '--recipe', 'w9', '--out', join(folder, 'x.gguf'));
  assert.match(unknown.stderr, /^nibble: recipe_invalid: .*w4a8/);
  const usage = await nibble('quantize', '--model', out, '--auto', '--out', join(folder, 'x.gguf'));
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /--max-kl, --size and --speed/);
});
