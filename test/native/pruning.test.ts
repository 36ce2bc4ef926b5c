/** Token pruning: right against float64, and the same bits whatever the chunks, batch, threads, level and cache. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import type { PruningSpec } from '../../src/native/contract.js';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import {
  assertSameRows,
  chunkPart,
  collect,
  logitsOf,
  prefill,
  type Rows,
  randomTokens,
} from '../support/native-logits.js';
import { architectures, hostLevels, modelFolder } from '../support/native-models.js';
import { runReference } from '../support/python.js';

/** Two windows, and what is behind them. */
const TOKENS = 550;
const positions = Array.from({ length: TOKENS - 512 }, (_, i) => 512 + i);
const pruning = (windows: number, cuts: readonly (readonly [layers: number, tokens: number])[]): PruningSpec => ({
  windows,
  layers: Int32Array.from(cuts, ([layers]) => layers),
  tokens: Int32Array.from(cuts, ([, tokens]) => tokens),
  isRandom: false,
});
const twice = pruning(2, [
  [1, 128],
  [3, 64],
]);
const once = pruning(1, [[2, 112]]);

let models: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
let prompt: number[];
let expected: Rows;
before(async () => {
  models = await modelFolder();
  path = await models.write('llama', { ...architectures.llama, layers: 5, context: 1024 });
  prompt = randomTokens(TOKENS, (await readModelFile(path)).architecture.vocab, 23);
  expected = await logitsOfPruned([512], {});
});
after(() => models.remove());

const open = (options: KitOptions) =>
  NativeKit.open(path, { activations: 'f32', kvBlockCount: 160, scatterSeed: 4, ...options });

async function logitsOfPruned(chunks: readonly number[], options: KitOptions, spec = twice): Promise<Rows> {
  const kit = await open(options);
  const found = await prefill(kit, kit.open(TOKENS, { pruning: spec }), prompt, chunks, positions);
  await kit.close();
  return found;
}

test('against float64: the runs of most weight on position 0 stay, side by side', async () => {
  const [ids, output] = [`${path}.ids.json`, `${path}.f64`];
  await writeFile(ids, JSON.stringify(prompt));
  await runReference('graph_numpy.py', [path, ids, output, '--kv-f16', '--prune', '2:1=128,3=64']);
  const bytes = await readFile(output);
  const all = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const left = TOKENS - 512 + 2 * 64;
  const vocab = all.length / left;
  assert.ok(Number.isInteger(vocab), 'as many tokens are left as the policy says');
  for (const [position, row] of expected) {
    const place = position - 512 + 128;
    const wanted = all.subarray(place * vocab, (place + 1) * vocab);
    const mean = wanted.reduce((sum, value) => sum + value, 0) / vocab;
    const variance = wanted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const error = wanted.reduce((sum, value, i) => sum + (value - (row[i] ?? Number.NaN)) ** 2, 0);
    // As in graph-reference.test.ts: float32 rounding, and f16 keys that it tips the other way.
    const bound = (3 / 4) * 2 ** -11 * Math.sqrt(2 * 5);
    assert.ok(Math.sqrt(error / variance) < bound, `position ${position}: ${Math.sqrt(error / variance)}`);
  }
});

test('chunks, threads and levels', async () => {
  const ways: [readonly number[], KitOptions][] = [
    [[256, 274, 20], { threads: 1 }],
    [[256, 256, 1], { threads: 3 }],
    ...hostLevels.slice(1, -1).map((level): [number[], KitOptions] => [[512, 13], { level }]),
  ];
  for (const [chunks, options] of ways) {
    assertSameRows(await logitsOfPruned(chunks, options), expected, `chunks of ${chunks}, ${JSON.stringify(options)}`);
  }
});

test('among sequences that are pruned otherwise, or not at all', async () => {
  const alone = new Map<PruningSpec | undefined, Rows>();
  for (const spec of [once, undefined]) {
    const kit = await open({});
    const sequence = kit.open(TOKENS, spec === undefined ? {} : { pruning: spec });
    alone.set(spec, await prefill(kit, sequence, prompt.slice(1), [256], [511, 520]));
    await kit.close();
  }
  const kit = await open({});
  const found: Rows[] = [new Map(), new Map(), new Map()];
  const members = [
    { sequence: kit.open(TOKENS, { pruning: once }), ids: prompt.slice(1), wanted: [511, 520], chunks: [256, 0, 20] },
    { sequence: kit.open(TOKENS, { pruning: twice }), ids: prompt, wanted: positions, chunks: [0, 256, 256, 3] },
    { sequence: kit.open(TOKENS), ids: prompt.slice(1), wanted: [511, 520], chunks: [200, 150, 100, 50, 7] },
  ];
  for (let turn = 0; members.some(({ sequence, ids }) => sequence.cachedTokens < ids.length); turn += 1) {
    const parts = members.map(({ sequence, ids, wanted, chunks }) =>
      chunkPart(sequence, ids, chunks[Math.min(turn, chunks.length - 1)] ?? 1, wanted),
    );
    const used = parts.filter((part) => part.tokens.length > 0);
    const starts = used.map((part) => part.sequence.cachedTokens);
    const result = await kit.step(used, { wantLogits: true });
    for (const [i, part] of used.entries()) collect(used, starts, i, result, found[parts.indexOf(part)] ?? new Map());
  }
  await kit.close();
  assertSameRows(found[0] ?? new Map(), alone.get(once) ?? new Map(), 'pruned once');
  assertSameRows(found[1] ?? new Map(), expected, 'pruned twice');
  assertSameRows(found[2] ?? new Map(), alone.get(undefined) ?? new Map(), 'whole');
});

test('a window that was computed for another sequence', async () => {
  const kit = await open({});
  const first = kit.open(TOKENS, { pruning: twice });
  const other = [...prompt.slice(0, 256), ...randomTokens(256, kit.vocab, 3)];
  await prefill(kit, first, other, [512], []);
  const second = kit.open(TOKENS, { pruning: twice }, first.blocks.slice(0, 16));
  const found = await prefill(kit, second, prompt, [294], positions);
  assertSameRows(found, expected, 'shared window');
  await kit.close();
});

test('whole windows that keep all their tokens are nothing new', async () => {
  const kit = await open({});
  const whole = await logitsOf(kit, prompt, [100], positions);
  await kit.close();
  assertSameRows(await logitsOfPruned([512], {}, pruning(2, [[1, 256]])), whole, 'all stay');
  assertSameRows(await logitsOfPruned([100], {}, pruning(0, [[1, 128]])), whole, 'no window');
  assert.throws(() => assertSameRows(expected, whole, 'pruned'), /pruned/);
});

test('what would cut a window, or read a dropped token, is refused', async () => {
  const kit = await open({});
  const sequence = kit.open(TOKENS, { pruning: twice });
  const refused = { code: 'native_invalid_argument' };
  const step = (count: number, row: number) => {
    const { cachedTokens } = sequence;
    const done = kit.step([{ sequence, tokens: prompt.slice(0, count), rows: [[row, 1]] }]);
    sequence.cachedTokens = cachedTokens;
    return done;
  };
  await assert.rejects(step(100, 99), refused);
  await assert.rejects(step(256, 255), refused);
  await assert.rejects(step(512, 511), refused);
  const other = kit.open(TOKENS, { pruning: once });
  await kit.step([{ sequence: other, tokens: prompt.slice(0, 300), rows: [[256, 1]] }]);
  const bad = [
    pruning(5, [[1, 128]]),
    pruning(1, []),
    pruning(1, [[0, 128]]),
    pruning(1, [[5, 128]]),
    pruning(1, [[1, 120]]),
    pruning(1, [[1, 0]]),
    pruning(1, [[1, -16]]),
    pruning(1, [
      [1, 64],
      [2, 128],
    ]),
    pruning(1, [
      [2, 128],
      [2, 64],
    ]),
    pruning(
      1,
      [1, 2, 3, 4, 4].map((layers) => [layers, 16]),
    ),
    { ...twice, tokens: twice.tokens.slice(1) },
  ];
  for (const spec of bad) assert.throws(() => kit.open(16, { pruning: spec }), refused);
  await kit.close();
});
