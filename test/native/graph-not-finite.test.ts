/**
 * NaN and infinity: refused in weights, reported per row when they arise in a step, and of no effect on other
 * sequences, on those that reuse the blocks, or on later steps.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeTensor, type TensorTypeName } from '../../src/model/generated/tensor-data.js';
import { ROW_SAMPLE } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';
import type { TinyModelOptions } from '../support/gguf-fixtures.js';
import { NativeKit } from '../support/native-kit.js';
import { assertSameRow, logitsOf, randomTokens } from '../support/native-logits.js';
import { modelFolder, patchTensor } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  folder = await modelFolder();
});
after(() => folder.remove());

const HIDDEN = 64;
const VOCAB = 288;
const POISON = VOCAB - 1;

/**
 * A finite model in which one token alone overflows: the first norm's gain is huge in dimension 0, where every other
 * token's embedding is 0. (A huge embedding would not do: its norm scales it back.)
 */
async function poisonedModel(name: string): Promise<string> {
  const path = await folder.write(name, { tied: false, types: { embedding: 'F32', output: 'Q8_0' } });
  const random = new Random(12);
  const embedding = Float32Array.from({ length: VOCAB * HIDDEN }, (_, i) => (i % HIDDEN === 0 ? 0 : random.normal()));
  embedding[POISON * HIDDEN] = 10;
  await patchTensor(path, 'token_embd.weight', 0, encodeTensor('F32', embedding));
  await patchTensor(path, 'blk.0.attn_norm.weight', 0, encodeTensor('F32', Float32Array.of(3e38)));
  return path;
}

/** Bytes at the start of a block that make it not finite, per type. */
const scaleAt: Partial<Record<TensorTypeName, number>> = { Q8_0: 0, Q4_0: 0, Q4_1: 2, Q5_0: 0, Q5_1: 2, F16: 0 };

for (const [type, at] of Object.entries(scaleAt)) {
  for (const [what, bits] of [
    ['infinity', 0x7c00],
    ['NaN', 0x7e01],
  ] as const) {
    test(`a ${type} weight with ${what} is refused`, async () => {
      const name = `${type} ${what}`;
      const path = await folder.write(name, { types: { ffn: type as TensorTypeName } });
      await patchTensor(path, 'blk.1.ffn_up.weight', at, Buffer.from([bits & 255, bits >> 8]));
      await assert.rejects(NativeKit.open(path), {
        code: 'model_tensor_not_finite',
        message: /blk\.1\.ffn_up\.weight/,
      });
    });
  }
}

test('norms, biases and float weights that are not finite are refused', async () => {
  const infinity = encodeTensor('F32', Float32Array.of(Number.NEGATIVE_INFINITY));
  const options: TinyModelOptions = { architecture: 'qwen2', types: { attention: 'F32' } };
  for (const tensor of ['blk.0.attn_norm.weight', 'output_norm.weight', 'blk.1.attn_k.bias', 'blk.0.attn_v.weight']) {
    const path = await folder.write(tensor, options);
    await patchTensor(path, tensor, 4, infinity);
    await assert.rejects(NativeKit.open(path), { code: 'model_tensor_not_finite' }, tensor);
  }
});

for (const activations of ['a8', 'f32'] as const) {
  test(`${activations}: a row that turns not finite fails alone, its blocks serve the next sequence rightly`, async () => {
    const path = await poisonedModel(`poison ${activations}`);
    const kit = await NativeKit.open(path, { activations, kvBlockCount: 24 });
    const prompt = randomTokens(40, POISON, 2);
    const positions = [0, 20, 39];
    const expected = await logitsOf(kit, prompt, [40], positions);

    const healthy = kit.open(48);
    // 48 tokens, so that every lane of its blocks holds a bad key and value.
    const bad = kit.open(64);
    const badPrompt = Array.from({ length: 48 }, () => POISON);
    const result = await kit.step(
      [
        {
          sequence: bad,
          tokens: badPrompt,
          rows: [
            [0, 5],
            [47, ROW_SAMPLE],
          ],
        },
        {
          sequence: healthy,
          tokens: prompt,
          rows: [
            [0, prompt[1] ?? 0],
            [20, prompt[21] ?? 0],
            [39, ROW_SAMPLE],
          ],
        },
      ],
      { wantLogits: true, wantLogprobs: true, topCount: 3 },
    );
    assert.deepEqual([...result.failed], [1, 1, 0, 0, 0], 'the two rows of the bad sequence, no other');
    for (const [i, position] of positions.entries()) {
      const at = (2 + i) * kit.vocab;
      assertSameRow(
        result.logits?.subarray(at, at + kit.vocab),
        expected.get(position),
        `beside it, position ${position}`,
      );
    }
    assert.ok(result.logprobs.subarray(2).every(Number.isFinite));

    // A decode of the failed sequence stays in range of everything, and fails again.
    const next = await kit.step([
      { sequence: healthy, tokens: [-1], rows: [[0, ROW_SAMPLE]] },
      { sequence: bad, tokens: [-1], rows: [[0, ROW_SAMPLE]] },
    ]);
    assert.deepEqual([...next.failed], [0, 1]);
    kit.release(healthy);
    kit.release(bad);

    // `release` puts blocks in front: the next sequence gets the bad one's, where stale lanes hold infinity and NaN.
    const heir = kit.open(40);
    assert.deepEqual(heir.blocks, bad.blocks.slice(0, 3));
    kit.release(heir);
    for (const chunks of [[1], [7], [40]]) {
      const again = await logitsOf(kit, prompt, chunks, positions);
      for (const [position, row] of again)
        assertSameRow(row, expected.get(position), `reused blocks, ${position}, ${chunks}`);
      const dirty = kit.open(48);
      await kit.step([{ sequence: dirty, tokens: badPrompt }]);
      kit.release(dirty);
    }
    await kit.close();
  });
}

test('a failed row samples a token in the vocabulary, so that a step queued behind it is harmless', async () => {
  const path = await poisonedModel('poison queued');
  const kit = await NativeKit.open(path);
  const prompt = randomTokens(10, POISON, 4);
  const expected = await logitsOf(kit, prompt, [10], [9]);
  const bad = kit.open(16);
  const first = kit.step([{ sequence: bad, tokens: [POISON], rows: [[0, ROW_SAMPLE]] }]);
  const second = kit.step([{ sequence: bad, tokens: [-1], rows: [[0, ROW_SAMPLE]] }]);
  const [one, two] = await Promise.all([first, second]);
  assert.deepEqual([...one.failed, ...two.failed], [1, 1]);
  assert.ok([...one.tokens, ...two.tokens].every((token) => token >= 0 && token < kit.vocab));
  kit.release(bad);
  assertSameRow((await logitsOf(kit, prompt, [10], [9])).get(9), expected.get(9), 'afterwards');
  await kit.close();
});
