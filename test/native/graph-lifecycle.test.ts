/** Loading, closing, and what happens between: nothing is lost, nothing leaks, nobody waits for ever. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadNativeModel } from '../../src/engine/open.js';
import { readModelFile } from '../../src/model/gguf.js';
import { ROW_SAMPLE } from '../../src/native/contract.js';
import { defaultModelPath } from '../support/default-model.js';
import { greedy, NativeKit } from '../support/native-kit.js';
import { assertSameRows, logitsOf, randomTokens } from '../support/native-logits.js';
import { modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
before(async () => {
  folder = await modelFolder();
  path = await folder.write('tiny', {});
});
after(() => folder.remove());

const closed = { code: 'native_closed' };
const prompt = randomTokens(300, 288, 1);

test('close during steps: those in flight resolve, later ones are refused, closing again is harmless', async () => {
  const kit = await NativeKit.open(path);
  const expected = await logitsOf(kit, prompt, [300], [299]);
  const sequence = kit.open(320);
  const part = { sequence, tokens: prompt, rows: [[299, ROW_SAMPLE] as const] };
  const one = kit.step([part], { wantLogits: true });
  const two = kit.step([{ sequence, tokens: [-1], rows: [[0, ROW_SAMPLE]] }]);
  const closing = kit.close();
  assert.throws(() => kit.model.openSlot(greedy), closed);
  assert.throws(() => kit.model.closeSlot(sequence.slot), closed);
  await assert.rejects(kit.step([{ sequence, tokens: [1] }]), closed);
  const [{ logits }, { tokens, failed }] = await Promise.all([one, two]);
  assertSameRows(new Map([[299, logits ?? new Float32Array(0)]]), expected, 'the step in flight');
  assert.equal(tokens.length, 1);
  assert.deepEqual([...failed], [0]);
  await Promise.all([closing, kit.close()]);
  await kit.close();
  await assert.rejects(kit.step([{ sequence, tokens: [1] }]), closed);
  assert.throws(() => kit.model.openSlot(greedy), closed);
});

test('two models at once do not touch each other', async () => {
  const other = await folder.write('other', { architecture: 'qwen3', headDim: 32, seed: 9 });
  const [one, two] = await Promise.all([NativeKit.open(path), NativeKit.open(other, { activations: 'f32' })]);
  const [first, second] = [await logitsOf(one, prompt, [300], [7, 299]), await logitsOf(two, prompt, [300], [7, 299])];
  assert.throws(() => assertSameRows(first, second, 'different models'));
  const both = await Promise.all([logitsOf(one, prompt, [11], [7, 299]), logitsOf(two, prompt, [13], [7, 299])]);
  assertSameRows(both[0], first, 'one');
  assertSameRows(both[1], second, 'two');
  await one.close();
  assertSameRows(await logitsOf(two, prompt, [64], [7, 299]), second, 'two, after one was closed');
  await two.close();
});

test('loading fails with a code and leaves nothing behind', async () => {
  const file = await readModelFile(path);
  const sizes = {
    threads: 2,
    activations: 'a8',
    kv: 'f16',
    contextTokensMax: 64,
    kvBlockCount: 4,
    slotCount: 1,
  } as const;
  await assert.rejects(loadNativeModel({ ...file, path: `${path}.missing` }, sizes), {
    code: 'model_file_unreadable',
  });
  const [first, ...rest] = file.tensors;
  assert.ok(first);
  await assert.rejects(loadNativeModel({ ...file, tensors: rest }, sizes), { code: 'model_tensor_missing' });
  const beyond = { ...first, offset: file.fileBytes - 4 };
  await assert.rejects(loadNativeModel({ ...file, tensors: [beyond, ...rest] }, sizes), {
    code: 'model_tensor_out_of_range',
  });
  const wide = { ...first, shape: [...first.shape].reverse() };
  await assert.rejects(loadNativeModel({ ...file, tensors: [wide, ...rest] }, sizes), { code: 'model_tensor_shape' });
  for (const wrong of [{ threads: 0 }, { kvBlockCount: 0 }, { slotCount: 0.5 }, { contextTokensMax: 2 ** 40 }]) {
    await assert.rejects(
      loadNativeModel(file, { ...sizes, ...wrong }),
      { code: 'engine_failed' },
      JSON.stringify(wrong),
    );
  }
});

test('an unknown NIBBLE_ISA is an error that names the levels', async () => {
  const before = process.env.NIBBLE_ISA;
  process.env.NIBBLE_ISA = 'avx1024';
  try {
    await assert.rejects(NativeKit.open(path), /NIBBLE_ISA must be scalar, avx2/);
  } finally {
    if (before === undefined) delete process.env.NIBBLE_ISA;
    else process.env.NIBBLE_ISA = before;
  }
});

test('process.exit while a model loads or steps run: the process ends with its own code, not by a signal', async () => {
  const script = fileURLToPath(new URL('../support/native-exit-main.ts', import.meta.url));
  const model = await defaultModelPath();
  for (const moment of ['load', 'step']) {
    for (const ms of [0, 10, 60]) {
      const child = spawn(process.execPath, ['--import', 'tsx', script, model, moment, String(ms)], {
        stdio: 'ignore',
      });
      const [code, signal] = await once(child, 'exit');
      assert.deepEqual([code, signal], [7, null], `${moment}, ${ms} ms`);
    }
  }
});

test('many cycles of load, step and close keep memory flat', async () => {
  // Each model holds about 8 MB of cache, packed weights and step buffers: 40 lost ones would show at once.
  const cycle = async () => {
    const kit = await NativeKit.open(path, { kvBlockCount: 512 });
    for (let i = 0; i < 3; i += 1) await logitsOf(kit, prompt, [150], [299]);
    await kit.close();
  };
  const settledMiB = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
    return process.memoryUsage.rss() / 2 ** 20;
  };
  for (let i = 0; i < 10; i += 1) await cycle();
  const before_ = await settledMiB();
  for (let i = 0; i < 40; i += 1) await cycle();
  const grown = (await settledMiB()) - before_;
  assert.ok(grown < 40, `40 cycles took ${grown.toFixed(1)} MiB`);
});
