/** Agile activations: rows of tokens that attend to the first one more than a threshold get 4 bits, the others 8. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ActivationKind, type LayerLinears, readCounter } from '../../src/native/contract.js';
import { agileThresholds, collectImportance } from '../../src/quant/agile.js';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import { assertSameRows, logitsOf, type Rows, randomTokens } from '../support/native-logits.js';
import { hostLevels, modelFolder } from '../support/native-models.js';

const LAYERS = 2;
const HEADS = 4;
const TOKENS = 60;
const positions = [0, 1, 30, 59];
const prompt = randomTokens(TOKENS, 288, 11);
let folder: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
before(async () => {
  folder = await modelFolder();
  path = await folder.write('agile', { hidden: 128, heads: HEADS, ffn: 192 });
});
after(() => folder.remove());

const linearsOf = (qkv: ActivationKind, others: ActivationKind): readonly LayerLinears[] =>
  Array.from({ length: LAYERS }, () => ({
    qkv: { activations: qkv },
    output: { activations: others },
    gateUp: { activations: others },
    down: { activations: others },
  }));
const agileWith = (...thresholds: number[]): KitOptions => ({
  linears: linearsOf('a8', 'agile'),
  agile: { thresholds: Float32Array.from(thresholds) },
});

async function logits(options: KitOptions, chunks: readonly number[] = [TOKENS]): Promise<Rows> {
  const kit = await NativeKit.open(path, options);
  try {
    return await logitsOf(kit, prompt, chunks, positions);
  } finally {
    await kit.close();
  }
}

/** Importance of every token in each layer, and the rows of 4 bits that one step of the whole prompt has. */
async function measure(options: KitOptions): Promise<{ importance: readonly Float32Array[]; shortRows: number }> {
  const kit = await NativeKit.open(path, options);
  try {
    const importance = await collectImportance(kit.model, LAYERS, [Int32Array.from(prompt)]);
    const result = await kit.step([{ sequence: kit.open(TOKENS), tokens: prompt }]);
    return { importance, shortRows: readCounter(result.counters, 'shortRows') };
  } finally {
    await kit.close();
  }
}

test('no importance is infinite, all are above 0: a8 entirely, and a4 but for position 0', async () => {
  const infinite = agileWith(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  const a8 = await logits({ activations: 'a8' });
  assertSameRows(await logits(infinite), a8, 'threshold infinity');
  const [all, a4] = [await logits(agileWith(0, 0)), await logits({ linears: linearsOf('a8', 'a4') })];
  assertSameRows(
    new Map([[0, all.get(0) ?? new Float32Array(0)]]),
    new Map([[0, a8.get(0) ?? new Float32Array(0)]]),
    '0',
  );
  assert.throws(() => assertSameRows(all, a4, 'position 0 is seen by the others'));
  assert.equal((await measure(agileWith(0, 0))).shortRows, 3 * LAYERS * (TOKENS - 1));
});

test('thresholds of a share leave that share above, counted once for each of three inputs', async () => {
  const { importance } = await measure({});
  assert.deepEqual(
    importance.map((values) => values[0]),
    [HEADS, HEADS],
    'position 0 sees itself alone, in each head',
  );
  const thresholds = agileThresholds(importance, 0.25);
  const agile = await measure(agileWith(...thresholds));
  const above = (layer: number) =>
    (agile.importance[layer] ?? []).filter((value) => value > (thresholds[layer] ?? 0)).length;
  assert.equal(above(0), TOKENS / 4, 'what the first layer attends to does not depend on its own inputs of 4 bits');
  // Position 0, above every threshold, keeps 8 bits.
  assert.equal(agile.shortRows, 3 * (above(0) - 1 + above(1) - 1));
  const least = await measure({
    linears: linearsOf('a8', 'agile'),
    agile: { thresholds: agileThresholds(importance, 0.75), choice: 'least' },
  });
  const below = (least.importance[0] ?? []).filter((value) => value < (agileThresholds(importance, 0.75)[0] ?? 0));
  assert.equal(below.length, TOKENS / 4 - 1, 'the threshold itself is not below');
  assert.equal((await measure({})).shortRows, 0);
  assert.equal((await measure({ linears: linearsOf('a4', 'a4') })).shortRows, 4 * LAYERS * TOKENS);
});

test('mixed rows: the same bits on every level, in one chunk and in many', async () => {
  const { importance } = await measure({});
  const options = agileWith(...agileThresholds(importance, 0.5));
  const expected = await logits({ ...options, level: 'scalar', threads: 1 });
  const a8 = await logits({ activations: 'a8' });
  assert.throws(() => assertSameRows(expected, a8, 'a8'), 'half of the rows differ from a8');
  for (const level of hostLevels) {
    assertSameRows(await logits({ ...options, level }, [7, 1, 16]), expected, level);
  }
});

test('tokens chosen by chance are as many as asked for, and others than by importance', async () => {
  const thresholds = Float32Array.of(0.7, 0.7);
  const random = { linears: linearsOf('a8', 'agile'), agile: { thresholds, choice: 'random' } } as const;
  const { shortRows, importance } = await measure(random);
  const share = shortRows / (3 * LAYERS * TOKENS);
  // 120 draws of probability 0.3 have a deviation of 0.042.
  assert.ok(Math.abs(share - 0.3) < 0.15, `${share}`);
  const byImportance = await logits(agileWith(...agileThresholds(importance, 0.3)));
  const byChance = await logits(random);
  assert.throws(() => assertSameRows(byChance, byImportance, 'chance'));
});

test('what makes no sense is refused', async () => {
  const refused = (options: KitOptions) => assert.rejects(NativeKit.open(path, options), { code: 'engine_failed' });
  await refused({ linears: linearsOf('agile', 'a8'), agile: { thresholds: new Float32Array(LAYERS) } });
  await refused({ head: { activations: 'agile' }, agile: { thresholds: new Float32Array(LAYERS) } });
  await refused({ linears: linearsOf('a8', 'agile') });
  await refused(agileWith(1));
  await refused(agileWith(1, Number.NaN));
  await refused(agileWith(1, -1));
});

test('thresholds: what lies above them is the share, rounded down', () => {
  const values = [Float32Array.of(3, 1, 2, 4), Float32Array.of(1, 1, 1, 1)];
  assert.deepEqual([...agileThresholds(values, 0.5)], [2, 1]);
  assert.deepEqual([...agileThresholds(values, 0.49)], [3, 1]);
  assert.deepEqual([...agileThresholds(values, 1)], [0, 0]);
  assert.ok([...agileThresholds(values, 0)].every((threshold) => threshold > 1e30 && Number.isFinite(threshold)));
});
