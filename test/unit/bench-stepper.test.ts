import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runOnce } from '../../src/cli/bench/engine.js';
import { Stepper } from '../../src/cli/bench/stepper.js';
import type { SamplingSpec } from '../../src/native/contract.js';
import { byteTokenizer } from '../support/engine-kit.js';
import { FakeNative } from '../support/fake-native.js';
import { fakeToken } from '../support/fake-text.js';

const greedy = { temperature: 0 } as SamplingSpec;
const vocab = 256;

/** What the fake samples after `prompt`, step by step: a hash of the whole history. */
function continuation(prompt: readonly number[], steps: number): number[] {
  const history = [...prompt];
  for (let i = 0; i <= steps; ++i) history.push(fakeToken(history, greedy, vocab));
  return history.slice(prompt.length);
}

test('chunks, several sequences and two steps in flight give each sequence its own continuation', async () => {
  const native = new FakeNative({ blockCount: 64, vocab });
  const stepper = new Stepper(native);
  const prompts = [Int32Array.from({ length: 37 }, (_, i) => i), Int32Array.from({ length: 16 }, (_, i) => 200 - i)];
  const sequences = prompts.map((prompt) => stepper.open(prompt.length + 20));
  const first: number[] = [];
  for (const [i, sequence] of sequences.entries()) {
    first.push(await stepper.prefill(sequence, prompts[i]!, 10, true));
  }
  const steps = await stepper.decode(sequences, first, 20);
  stepper.closeAll(sequences);
  for (const [i, prompt] of prompts.entries()) {
    const got = [first[i], ...steps.map((tokens) => tokens[i])];
    assert.deepEqual(got, continuation([...prompt], 20));
  }
  assert.deepEqual(native.violations, []);
  assert.equal(native.inFlightPeak, 2);
  assert.equal(native.openSlots, 0);
});

test('a repetition feeds context, prompts and generated tokens, all of them', async () => {
  const native = new FakeNative({ blockCount: 400, vocab, stepTokensMax: 512 });
  const opened = { nativeModel: native, tokenizer: byteTokenizer() };
  await runOnce(opened, { batch: 2, context: 600, prompt: 700, generate: 5 });
  await runOnce(opened, { batch: 2, context: 0, prompt: 1, generate: 1 });
  assert.deepEqual(native.violations, []);
  // Steps of at most 512: the context of both, then the prompts, then five decodes of two; then the small one.
  assert.deepEqual(native.stepTokens, [512, 88, 512, 88, 512, 188, 512, 188, 2, 2, 2, 2, 2, 1, 1, 2]);
  assert.equal(native.openSlots, 0);
});

test('a refused step closes the slots', async () => {
  const native = new FakeNative({ blockCount: 8, vocab });
  native.stepFaults.push(new Error('no'));
  const opened = { nativeModel: native, tokenizer: byteTokenizer() };
  await assert.rejects(runOnce(opened, { batch: 1, context: 0, prompt: 4, generate: 4 }), /no/);
  assert.equal(native.openSlots, 0);
});
