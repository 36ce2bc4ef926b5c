/**
 * Logits against an independent float64 model (tools/reference/graph_numpy.py).
 *
 * Errors are relative: root mean square of the difference over the standard deviation of the reference's row.
 * f32 activations, worst row. The cache rounds keys and values to f16, a relative error of at most u = 2⁻¹¹ each; what
 * 2·layers such roundings do adds up like √(2·layers) if independent, and 3 covers their way to the logits (gain of the
 * softmax, of norms): 3·u·√(2·layers) against exact keys and values. Against keys and values rounded likewise only
 * float32 rounding (2⁻²⁴) and roundings to f16 that it tips the other way remain: a quarter of that.
 * a8, all rows together: a group's values are rounded to multiples of amax/127, an error of amax/(127·√12), and amax of
 * 32 bell-shaped values is some 2.3 deviations: 0.0052 a layer input, of which there are 4·layers + 1. Real activations
 * have outliers, which widen amax several times: 3 for generated models, 12 for the real one.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { ActivationFormat } from '../../src/native/contract.js';
import { defaultModelPath } from '../support/default-model.js';
import { NativeKit } from '../support/native-kit.js';
import { logitsOf, type Rows, randomTokens } from '../support/native-logits.js';
import { architectures, modelFolder, weightModels } from '../support/native-models.js';
import { runReference } from '../support/python.js';

const TOKENS = 64;
let models: Awaited<ReturnType<typeof modelFolder>>;
let folder: string;
before(async () => {
  models = await modelFolder();
  folder = await mkdtemp(join(tmpdir(), 'nibble-reference-'));
});
after(async () => {
  await models.remove();
  await rm(folder, { recursive: true, force: true });
});

async function reference(path: string, prompt: readonly number[], kvF16: boolean): Promise<Float64Array[]> {
  const [ids, output] = [join(folder, 'ids.json'), join(folder, 'logits.f64')];
  await writeFile(ids, JSON.stringify(prompt));
  await runReference('graph_numpy.py', [path, ids, output, ...(kvF16 ? ['--kv-f16'] : [])]);
  const bytes = await readFile(output);
  const all = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const vocab = all.length / prompt.length;
  return prompt.map((_, row) => all.subarray(row * vocab, (row + 1) * vocab));
}

async function ours(path: string, prompt: readonly number[], activations: ActivationFormat): Promise<Rows> {
  const kit = await NativeKit.open(path, { activations });
  try {
    return await logitsOf(kit, prompt, [TOKENS], [...prompt.keys()]);
  } finally {
    await kit.close();
  }
}

const argmax = (row: ArrayLike<number>) => {
  let best = 0;
  for (let i = 1; i < row.length; i += 1) if ((row[i] ?? 0) > (row[best] ?? 0)) best = i;
  return best;
};

/** Worst row's and overall relative error, and the share of rows with the same most likely token. */
function compare(rows: Rows, expected: readonly Float64Array[]): { worst: number; overall: number; sameTop: number } {
  assert.equal(rows.size, expected.length);
  let [worst, errors, variances, same] = [0, 0, 0, 0];
  for (const [position, wanted] of expected.entries()) {
    const row = rows.get(position) ?? new Float32Array(0);
    assert.equal(row.length, wanted.length);
    const mean = wanted.reduce((sum, value) => sum + value, 0) / wanted.length;
    let [error, variance] = [0, 0];
    for (const [i, value] of wanted.entries()) {
      error += ((row[i] ?? Number.NaN) - value) ** 2;
      variance += (value - mean) ** 2;
    }
    worst = Math.max(worst, Math.sqrt(error / variance));
    errors += error;
    variances += variance;
    if (argmax(row) === argmax(wanted)) same += 1;
  }
  return { worst, overall: Math.sqrt(errors / variances), sameTop: same / expected.length };
}

async function check(path: string, prompt: readonly number[], a8Factor: number): Promise<void> {
  const { layers } = (await readModelFile(path)).architecture;
  const exact = await reference(path, prompt, false);
  const rounded = await reference(path, prompt, true);
  const f32 = await ours(path, prompt, 'f32');
  const bound = 3 * 2 ** -11 * Math.sqrt(2 * layers);
  const toExact = compare(f32, exact);
  assert.ok(toExact.worst <= bound, `f32: ${toExact.worst} > ${bound}`);
  assert.ok(toExact.sameTop >= 63 / 64, `f32: same most likely token in ${toExact.sameTop}`);
  const toRounded = compare(f32, rounded);
  assert.ok(toRounded.worst <= bound / 4, `f32 against f16 keys and values: ${toRounded.worst} > ${bound / 4}`);
  const a8Bound = a8Factor * 0.0052 * Math.sqrt(4 * layers + 1);
  const a8 = compare(await ours(path, prompt, 'a8'), rounded);
  assert.ok(a8.overall <= a8Bound, `a8: ${a8.overall} > ${a8Bound}`);
  assert.ok(a8.sameTop >= 0.9, `a8: same most likely token in ${a8.sameTop}`);
  // The reference with other positions of the tokens must be far: the bounds above do tell models apart.
  const shifted = compare(f32, [...rounded.slice(1), ...rounded.slice(0, 1)]);
  assert.ok(shifted.overall > 0.5, 'rows of different positions look alike');
}

for (const [name, options] of Object.entries({ ...architectures, ...weightModels })) {
  test(`${name}: within rounding of float64`, async () => {
    const path = await models.write(name, options);
    const { vocab } = (await readModelFile(path)).architecture;
    await check(path, randomTokens(TOKENS, vocab, 5), 3);
  });
}

test('default model: within rounding of float64', async () => {
  const path = await defaultModelPath();
  const tokenizer = createTokenizer((await readModelFile(path)).tokenizer);
  const text = await readFile(new URL('../../LICENSE', import.meta.url), 'utf8');
  const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
  await check(path, [...ids.subarray(200, 200 + TOKENS)], 12);
});
