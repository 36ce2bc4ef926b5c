/** `nibble calibrate` and what `nibble inspect` shows of it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { outcome, spawnNibble } from '../support/real-server.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-inspect-'));
});
after(() => rm(folder, { recursive: true }));

test('statistics of every input are written, shown, and not replaced', async () => {
  const [model, data, out] = ['model.gguf', 'text.txt', 'statistics'].map((name) => join(folder, name));
  await writeTinyModel(model ?? '');
  await writeFile(data ?? '', 'what goes in, channel by channel. '.repeat(20));
  const args = ['calibrate', '--model', model, '--data', data, '--out', out, '--tokens', '64', '--window', '32'];
  const calibrate = () => outcome(spawnNibble(args.map(String)));
  const made = await calibrate();
  assert.match(made.stdout, /64 tokens/, made.stderr);
  assert.match((await calibrate()).stderr, /output_exists/);
  const told = await outcome(spawnNibble(['inspect', model ?? '', '--statistics', out ?? '', '--json']));
  const { statistics, recipe } = JSON.parse(told.stdout);
  assert.equal(recipe, null);
  assert.equal(statistics.tokens, 64);
  const inputs = statistics.inputs.map(({ layer, input, channels }: Record<string, unknown>) => [
    layer,
    input,
    channels,
  ]);
  const perLayer = [
    ['qkv', 64],
    ['output', 64],
    ['gateUp', 64],
    ['down', 96],
  ] as const;
  assert.deepEqual(
    inputs,
    [0, 1].flatMap((layer) => perLayer.map(([input, channels]) => [layer, input, channels])),
  );
  for (const { max, median } of statistics.inputs) assert.ok(max >= median && median > 0);
});
