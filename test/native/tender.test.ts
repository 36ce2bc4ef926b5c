/** Tender files: the kernels compute what the rounding of inputs stands for, with the same bits everywhere. */
import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { packedBytes } from '../../src/model/packed-bytes.js';
import type { ActivationKind, LayerLinears, NativeModel } from '../../src/native/contract.js';
import type { InputRule } from '../../src/native/input-study.js';
import { planTender, type TenderPlan } from '../../src/quant/tender/plan.js';
import { tenderRule, tokenTenderRule } from '../../src/quant/tender/schemes.js';
import { isCentred, layerInputs, recordRanges, setRules } from '../../src/quant/tender/study.js';
import { NativeKit } from '../support/native-kit.js';
import { assertSameRows, logitsOf, type Rows, randomTokens } from '../support/native-logits.js';
import { hostLevels, modelFolder, patchTensor } from '../support/native-models.js';
import { type TenderBits, writeTender } from '../support/tender-model.js';

const TOKENS = 300; // more than a chunk of 256 positions
const positions = [0, 1, 100, 255, 256, 299];
const prompt = randomTokens(TOKENS, 288, 3);
let folder: Awaited<ReturnType<typeof modelFolder>>;
let source = '';
const linearsOf = (activations: ActivationKind): readonly LayerLinears[] => {
  const spec = { activations };
  return [0, 1].map(() => ({ qkv: spec, output: spec, gateUp: spec, down: spec }));
};

before(async () => {
  folder = await modelFolder();
  const types = { attention: 'F32', ffn: 'F32', embedding: 'F32' } as const;
  source = await folder.write('floats', { hidden: 96, heads: 3, kvHeads: 1, ffn: 160, types, context: 512 });
});
after(() => folder.remove());

async function logits(path: string, activations: ActivationKind, options: object = {}, chunks = [128]): Promise<Rows> {
  const kit = await NativeKit.open(path, { activations: 'f32', linears: linearsOf(activations), ...options });
  try {
    return await logitsOf(kit, prompt, chunks, positions);
  } finally {
    await kit.close();
  }
}

async function plansOf(bits: TenderBits, groups: number, centres = false): Promise<readonly TenderPlan[]> {
  const { architecture } = await readModelFile(source);
  const inputs = layerInputs(architecture);
  const kit = await NativeKit.open(source, { activations: 'f32' });
  try {
    const ranges = await recordRanges(kit.model, inputs, async () => {
      await logitsOf(kit, prompt, [300], positions);
    });
    const limit = bits === 8 ? 127 : 7;
    return inputs.map(({ input }, id) => {
      const own = ranges[id];
      assert.ok(own);
      return planTender(own, { groups, limit, unit: 4, centred: centres && isCentred(input), rounding: 'up' });
    });
  } finally {
    await kit.close();
  }
}

/** Root mean square of the differences over that of the reference. */
function distance(rows: Rows, reference: Rows): number {
  let [errors, squares] = [0, 0];
  for (const [position, wanted] of reference) {
    for (const [i, value] of wanted.entries()) {
      errors += (value - (rows.get(position)?.[i] ?? Number.NaN)) ** 2;
      squares += value ** 2;
    }
  }
  return Math.sqrt(errors / squares);
}

const only = (rows: Rows, position: number): Rows => new Map([[position, rows.get(position) ?? assert.fail()]]);

for (const [bits, steps] of [
  [8, 'chunks'],
  [8, 'rows'],
  [4, 'rows'],
] as const) {
  test(`${bits} bits, steps of ${steps}: the kernels give what rounding the inputs gives, on all levels`, async () => {
    const ofChunks = await plansOf(bits, 5);
    const plans = steps === 'chunks' ? ofChunks : ofChunks.map((plan) => ({ ...plan, scales: new Float32Array(0) }));
    const ruleOf = steps === 'chunks' ? tenderRule : tokenTenderRule;
    const [tender, floats] = [`${source}.${steps}${bits}`, `${source}.floats.${steps}${bits}`];
    await writeTender(source, plans, bits, { tender, floats });
    const kind = bits === 8 ? 'tender8' : 'tender4';
    const loaded = await NativeKit.open(tender, { activations: 'f32', linears: linearsOf(kind) });
    const estimate = packedBytes((await readModelFile(tender)).tensors) / loaded.model.info.packedBytes;
    await loaded.close();
    assert.ok(estimate > 0.9 && estimate < 1.1, `memory is known beforehand: ${estimate}`);
    const got = await logits(tender, kind);

    // The same weights as f32, the inputs rounded by the study: other sums of the same numbers.
    const kit = await NativeKit.open(floats, { activations: 'f32' });
    const inputs = layerInputs((await readModelFile(floats)).architecture);
    setRules(kit.model, inputs, (_, id) => ruleOf(plans[id] ?? assert.fail(), bits === 8 ? 127 : 7));
    const rounded = await logitsOf(kit, prompt, [128], positions);
    setRules(kit.model, inputs, () => null);
    const exact = await logitsOf(kit, prompt, [128], positions);
    await kit.close();
    // A value near the middle of two codes may go either way, which is far rarer and smaller than rounding itself.
    const cost = distance(rounded, exact);
    assert.ok(cost > (bits === 8 ? 1e-3 : 1e-2), `rounding changes something: ${cost}`);
    assert.ok(distance(got, rounded) < cost / 2, `${distance(got, rounded)} of ${cost}`);
    const each = positions.map((p) => distance(only(got, p), only(rounded, p)));
    assert.ok(Math.min(...each) < 1e-6, 'where no value is near the middle, only sums differ');
    // f32 activations on the same file: no rounding of inputs, the bias and the order all the same.
    assert.ok(distance(await logits(tender, 'f32'), exact) < 1e-4);

    for (const level of hostLevels) {
      assertSameRows(await logits(tender, kind, { level, threads: 1 }, [7, 64, 1, 300]), got, level);
    }
  });
}

test('what the bias of channels takes from the outputs is given back', async () => {
  const path = `${source}.centred`;
  const plans = await plansOf(8, 5, true);
  const biases = plans.filter((_, id) => id % 2 === 0).map(({ bias }) => bias.reduce((sum, b) => sum + b * b, 0));
  assert.ok(biases.every((squares) => squares > 0));
  await writeTender(source, plans, 8, { tender: path });
  const exact = await logits(source, 'f32');
  // Errors of 8-bit weights; without the offset of the first input alone it is far more.
  assert.ok(distance(await logits(path, 'f32'), exact) < 0.1);
  assert.ok(distance(await logits(path, 'tender8'), exact) < 0.15);
  await patchTensor(path, 'blk.0.qkv.tender_offset', 0, new Uint8Array(4 * 160));
  const lacking = distance(await logits(path, 'f32'), exact);
  assert.ok(lacking > 0.1, `${lacking}`);
});

test('what a file says of the order is checked, and so is what goes together', async () => {
  const plans = await plansOf(8, 3, true);
  const good = `${source}.good`;
  await writeTender(source, plans, 8, { tender: good });
  for (const kind of ['a8', 'a4'] as const) {
    await assert.rejects(logits(good, kind), { code: 'model_tensor_shape' });
  }
  await assert.rejects(logits(source, 'tender8'), { code: 'model_tensor_shape' });
  const bad = `${source}.bad`;
  const i32 = (value: number) => new Uint8Array(Int32Array.of(value).buffer);
  const f32 = (value: number) => new Uint8Array(Float32Array.of(value).buffer);
  const order = plans[0]?.order ?? assert.fail();
  const changes = [
    ['blk.0.qkv.tender_order', i32(order[1] ?? 0), 'model_tensor_shape'],
    ['blk.0.qkv.tender_order', i32(-1), 'model_tensor_shape'],
    ['blk.1.down.tender_order', i32(160), 'model_tensor_shape'],
    ['blk.1.gateUp.tender_sizes', i32(2), 'model_tensor_shape'],
    ['blk.1.gateUp.tender_sizes', i32(-4), 'model_tensor_shape'],
    ['blk.1.gateUp.tender_sizes', i32(1 << 30), 'model_tensor_shape'],
    ['blk.0.output.tender_scales', f32(-1), 'model_tensor_shape'],
    ['blk.0.output.tender_scales', f32(Number.NaN), 'model_tensor_not_finite'],
    ['blk.0.qkv.tender_offset', f32(Number.POSITIVE_INFINITY), 'model_tensor_not_finite'],
    ['blk.0.attn_q.weight', f32(Number.NaN), 'model_tensor_not_finite'],
  ] as const;
  for (const [name, bytes, code] of changes) {
    await copyFile(good, bad);
    await patchTensor(bad, name, 0, bytes);
    await assert.rejects(logits(bad, 'tender8'), { code }, name);
  }
});

test('rules: record, steps and windows, each with an input of one known value', async () => {
  const kit = await NativeKit.open(source, { activations: 'f32' });
  const study: Pick<NativeModel, 'studyInput' | 'inputRanges'> = kit.model;
  const inputs = layerInputs((await readModelFile(source)).architecture);
  const run = () => logitsOf(kit, prompt, [300], positions);
  const plain = await run();
  const steps = (value: number, width: number): InputRule => ({
    ...{ kind: 'fixed', limit: 32_767, bias: new Float32Array(width) },
    steps: new Float32Array(width).fill(value),
  });
  // All inputs rounded to nothing: what is left is each token's own embedding, whatever stood before it.
  setRules(kit.model, inputs, ({ width }) => steps(0, width));
  const alone = await run();
  const token = prompt[100] ?? 0;
  const single = await logitsOf(kit, [token, token], [2], [1]);
  assert.deepEqual(alone.get(100), single.get(1));
  assert.notDeepEqual(plain.get(100), single.get(1));
  // Steps far below the values change little; so do steps of one value in 16 bits.
  setRules(kit.model, inputs, ({ width }) => steps(2 ** -12, width));
  assert.ok(distance(await run(), plain) < 0.05);
  setRules(kit.model, inputs, () => ({ kind: 'token', limit: 32_767 }));
  assert.ok(distance(await run(), plain) < 0.05);
  // In proportions of 1 the least that clips nothing is the step of a token.
  setRules(kit.model, inputs, () => ({ kind: 'token', limit: 7 }));
  const tokens = await run();
  const ones = (width: number) => new Float32Array(width).fill(1);
  setRules(kit.model, inputs, ({ width }): InputRule => {
    return { kind: 'ratios', limit: 7, steps: ones(width), bias: new Float32Array(width) };
  });
  assertSameRows(await run(), tokens, 'ratios');
  // More groups are finer, and 24 of them with 16 bits next to exact.
  const window = async (groups: number, limit: number) => {
    setRules(kit.model, inputs, () => ({ kind: 'window', limit, groups, centred: false }));
    return distance(await run(), plain);
  };
  const [one, four] = [await window(1, 7), await window(4, 7)];
  assert.ok(four < one && (await window(24, 32_767)) < 0.05, `${one} ${four}`);
  // Position 0 is a chunk of its own, then come positions 1–255 and 256–299: nothing in a fourth.
  setRules(kit.model, inputs, () => ({ kind: 'record' }));
  await run();
  const ranges = study.inputRanges(0);
  const low = (chunk: number) => ranges[2 * chunk * 96] ?? Number.NaN;
  assert.ok([0, 1, 2].every((chunk) => Number.isFinite(low(chunk))));
  assert.equal(low(3), Number.POSITIVE_INFINITY);
  assert.equal(low(0), ranges[96], 'one token: its minimum is its maximum');
  assert.throws(() => study.studyInput(8, null), { code: 'native_invalid_argument' });
  assert.throws(() => study.studyInput(0, steps(1, 95)), { code: 'native_invalid_argument' });
  assert.throws(() => study.studyInput(0, { kind: 'token', limit: Number.NaN }), { code: 'native_invalid_argument' });
  await kit.close();
  const quantized = await NativeKit.open(await folder.write('codes', { hidden: 96, heads: 3, kvHeads: 1 }), {});
  assert.throws(() => quantized.model.studyInput(0, { kind: 'record' }), { code: 'native_invalid_argument' });
  await quantized.close();
});
