import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkPoints, defaultSpace, defaultWorkload, readSpace, readWorkload } from '../../src/cli/explore/files.js';
import { namedRecipe, quickRecipe, sweepRecipe } from '../../src/cli/explore/recipes.js';
import { checkWritable } from '../../src/cli/output.js';
import { NibbleError } from '../../src/errors.js';
import { parseRecipe } from '../../src/model/recipe.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-explore-files-'));
after(() => rmSync(folder, { recursive: true }));

function file(value: unknown): string {
  const path = join(folder, 'file.json');
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

const refusal = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof NibbleError && error.code === code && message.test(error.message);

test('files are read as they are; without one there are defaults', async () => {
  assert.deepEqual(await readSpace(file(defaultSpace)), defaultSpace);
  const workload = { batch: 1, promptTokens: 8, outputTokens: 0 };
  assert.deepEqual(await readWorkload(file(workload)), workload);
  assert.deepEqual(await readWorkload(file(`\uFEFF${JSON.stringify(workload)}`)), workload, 'as Windows writes texts');
  assert.deepEqual([await readSpace(undefined), await readWorkload(undefined)], [defaultSpace, defaultWorkload]);
});

test('what is wrong with a file is said', async () => {
  const invalid = (message: RegExp) => refusal('scenario_invalid', message);
  await assert.rejects(readWorkload(join(folder, 'none.json')), invalid(/no such file/));
  await assert.rejects(readWorkload(file('{')), invalid(/file\.json/));
  await assert.rejects(readWorkload(file({ ...defaultWorkload, batch: 0 })), invalid(/batch/));
  await assert.rejects(readWorkload(file({ ...defaultWorkload, extra: 1 })), invalid(/extra/));
  await assert.rejects(readSpace(file({ ...defaultSpace, rows: [] })), invalid(/rows/));
  await assert.rejects(readSpace(file({ ...defaultSpace, memoryGBs: [-1] })), invalid(/memoryGBs/));
  await assert.rejects(readSpace(file({ ...defaultSpace, elements: ['gpu'] })), invalid(/elements/));
  await assert.rejects(readSpace(file(' '.repeat(2 ** 20 + 1))), invalid(/the limit is/));
  assert.throws(() => checkPoints('space.json', 0), invalid(/no element runs/));
  assert.throws(() => checkPoints('space.json', 5_000_001), invalid(/5000001 points/));
  assert.throws(() => namedRecipe('w9'), refusal('recipe_invalid', /'w9' is none of: f16, /));
});

test('a report is asked for room first, and an earlier one stays until then', async () => {
  const [old, fresh] = [file('of last week'), join(folder, 'fresh.html')];
  for (const path of [old, fresh]) await checkWritable(path);
  assert.equal(readFileSync(old, 'utf8'), 'of last week');
  assert.equal(existsSync(fresh), false);
  await assert.rejects(checkWritable(join(folder, 'none/x.html')), refusal('output_unwritable', /none\/x\.html/));
});

test('a recipe says what hardware has to hold: Q4_1 has 4 bits and 32 more for each 32 weights', () => {
  const { weightBits, storedWeightBits, activationBits, headBits, scheme } = sweepRecipe(
    { name: 'w4a8', recipe: namedRecipe('w4a8') },
    0.5,
  );
  assert.deepEqual([weightBits, storedWeightBits, activationBits, headBits, scheme], [4, 5, 8, 8, 'groups']);
  const float = sweepRecipe({ name: 'f16', recipe: namedRecipe('f16') }, 0);
  assert.deepEqual(
    [float.weightBits, float.storedWeightBits, float.activationBits, float.scheme],
    [16, 16, 16, 'float'],
  );
  const codebook = sweepRecipe({ name: 'rcp-w2a4', recipe: namedRecipe('rcp-w2a4') }, 1);
  assert.ok(codebook.weightBits === 8 && codebook.storedWeightBits < 3, 'levels of 8 bits, codes of 2');
  const tender = sweepRecipe({ name: 'tender-int4', recipe: namedRecipe('tender-int4') }, 1);
  assert.deepEqual(
    [tender.weightBits, tender.activationBits, tender.scheme, tender.channelGroups],
    [4, 4, 'channels', 8],
  );
});

test('every recipe of the default space can be made quickly', () => {
  for (const name of defaultSpace.recipes) {
    const quick = quickRecipe(namedRecipe(name));
    assert.deepEqual(parseRecipe(quick), quick);
    assert.equal(quick.rounding, 'rtn');
  }
});
