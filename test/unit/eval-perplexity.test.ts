import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measurePerplexity } from '../../src/cli/eval/perplexity.js';
import { firstScoredRow, LossMeter, windowsOf } from '../../src/cli/eval/windows.js';
import { NibbleError } from '../../src/errors.js';
import { FakeNative } from '../support/fake-native.js';
import { fakeLogprob } from '../support/fake-text.js';

const tokens = (count: number) => Int32Array.from({ length: count }, (_, i) => (i * 7919) % 251);

/** Losses of targets [first, window) by the fake's definition: a hash of everything before. */
function losses(window: Int32Array, firstTarget: number): number[] {
  return [...window.keys()].slice(firstTarget).map((i) => -fakeLogprob([...window.subarray(0, i)], window[i]!));
}

test('windows do not overlap and a short last one is dropped', () => {
  const cut = windowsOf(tokens(70), 32);
  assert.deepEqual(
    cut.map((window) => window.length),
    [32, 32],
  );
  assert.equal(cut[1]![0], tokens(70)[32]);
  assert.equal(windowsOf(tokens(31), 32).length, 0);
});

test('second-half scores targets 257 … 511 of 512, full all but the first', () => {
  // The row before a target scores it.
  assert.equal(firstScoredRow(512, 'second-half') + 1, 257);
  assert.equal(firstScoredRow(512, 'full') + 1, 1);
});

for (const [protocol, firstTarget] of [
  ['full', 1],
  ['second-half', 301],
] as const) {
  test(`${protocol}: each target is scored after exactly the tokens before it in its window`, async () => {
    // Windows of 600 tokens: longer than a step.
    const native = new FakeNative({ blockCount: 38, stepTokensMax: 512, stepRowsMax: 512 });
    const windows = windowsOf(tokens(1300), 600);
    const expected = windows.flatMap((window) => losses(window, firstTarget));
    const measured = await measurePerplexity(native, windows, protocol);
    const mean = expected.reduce((sum, loss) => sum + loss, 0) / expected.length;
    const variance = expected.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / (expected.length - 1);
    assert.equal(measured.tokens, expected.length);
    assert.ok(Math.abs(measured.perplexity / Math.exp(mean) - 1) < 1e-6);
    const standardError = Math.exp(mean) * Math.sqrt(variance / expected.length);
    assert.ok(Math.abs(measured.standardError / standardError - 1) < 1e-6);
    assert.deepEqual(native.violations, []);
    assert.equal(native.openSlots, 0);
  });
}

test('a uniform guess among v tokens has perplexity v and no error', () => {
  const meter = new LossMeter();
  for (let i = 0; i < 100; ++i) meter.add(Math.log(50));
  const { perplexity, standardError, tokens: count } = meter.result();
  assert.ok(Math.abs(perplexity - 50) < 1e-9);
  assert.ok(standardError < 1e-6);
  assert.equal(count, 100);
});

test('a row that is not finite ends the evaluation with a code', async () => {
  const native = new FakeNative({ blockCount: 8, isFailed: (history) => history.length === 9 });
  await assert.rejects(
    measurePerplexity(native, [tokens(32)], 'full'),
    (error) => error instanceof NibbleError && error.code === 'not_finite',
  );
  assert.equal(native.openSlots, 0);
});
