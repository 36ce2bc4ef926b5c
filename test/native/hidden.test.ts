/** The residual stream behind each layer: right, and the same however the prompt is cut. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { NativeKit } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';
import { architectures, modelFolder } from '../support/native-models.js';
import { runReference } from '../support/python.js';

const TOKENS = 40;
let models: Awaited<ReturnType<typeof modelFolder>>;
before(async () => {
  models = await modelFolder();
});
after(() => models.remove());

/** [layers][tokens][hidden] of a prompt that is fed in such chunks. */
async function hiddenOf(path: string, prompt: readonly number[], chunk: number): Promise<Float32Array> {
  const { layers, hidden } = (await readModelFile(path)).architecture;
  const kit = await NativeKit.open(path, { activations: 'f32', threads: 2 });
  const all = new Float32Array(layers * prompt.length * hidden);
  const sequence = kit.open(prompt.length);
  while (sequence.cachedTokens < prompt.length) {
    const start = sequence.cachedTokens;
    const tokens = prompt.slice(start, start + chunk);
    const { hidden: part } = await kit.step([{ sequence, tokens }], { wantHidden: true });
    assert.equal(part?.length, layers * tokens.length * hidden);
    const size = tokens.length * hidden;
    for (let layer = 0; layer < layers; ++layer) {
      all.set(part?.subarray(layer * size, (layer + 1) * size) ?? [], (layer * prompt.length + start) * hidden);
    }
  }
  await kit.close();
  return all;
}

test('the residual stream behind each layer is that of a float64 model', async () => {
  const path = await models.write('llama', { ...architectures.llama, context: 64 });
  const { vocab, layers } = (await readModelFile(path)).architecture;
  const prompt = randomTokens(TOKENS, vocab, 5);
  const whole = await hiddenOf(path, prompt, TOKENS);
  assert.deepEqual(await hiddenOf(path, prompt, 7), whole);

  await writeFile(`${path}.ids.json`, JSON.stringify(prompt));
  await runReference('graph_numpy.py', [
    ...[path, `${path}.ids.json`, `${path}.logits`, '--kv-f16', '--hidden', `${path}.hidden`],
  ]);
  const bytes = await readFile(`${path}.hidden`);
  const expected = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  assert.equal(expected.length, whole.length);
  const stride = whole.length / layers;
  for (let layer = 0; layer < layers; ++layer) {
    let difference = 0;
    let size = 0;
    for (let i = layer * stride; i < (layer + 1) * stride; ++i) {
      difference += ((whole[i] ?? 0) - (expected[i] ?? 0)) ** 2;
      size += (expected[i] ?? 0) ** 2;
    }
    // float32 against float64 over sums of some hundred products, and a few f16 keys rounded the other way.
    assert.ok(Math.sqrt(difference / size) < 1e-4, `layer ${layer}: ${Math.sqrt(difference / size)}`);
  }
});

test('a step that was not asked gives none', async () => {
  const path = await models.write('llama', { ...architectures.llama, context: 64 });
  const kit = await NativeKit.open(path, { threads: 1 });
  const { hidden } = await kit.step([{ sequence: kit.open(4), tokens: [1, 2, 3] }]);
  assert.equal(hidden, undefined);
  await kit.close();
});
