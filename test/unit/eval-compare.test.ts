import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readContender, readContenders } from '../../src/cli/eval/compare/candidates.js';
import { choosePrompts, commonTokens } from '../../src/cli/eval/compare/greedy-text.js';
import { groupBySize } from '../../src/cli/eval/compare/quality.js';
import { findExcess } from '../../src/cli/eval/gate.js';

test('a contender is a file, and settings behind #', () => {
  assert.deepEqual(readContender('models/w4a8.gguf'), { name: 'w4a8', changes: { model: 'models/w4a8.gguf' } });
  assert.deepEqual(readContender('a.GGUF#activations=f32&kv=kv8'), {
    name: 'a#activations=f32&kv=kv8',
    changes: { model: 'a.GGUF', activations: 'f32', kv: 'kv8' },
  });
});

test('what is no contender is refused', () => {
  for (const text of ['', '#kv=kv8', 'a#', 'a#threads=2', 'a#activations', 'a#activations=int3', 'a#kv=f32']) {
    if (text === 'a#') assert.deepEqual(readContender(text).changes, { model: 'a' });
    else assert.throws(() => readContender(text), /must be|neither|missing/, text);
  }
});

test('contenders of one name are told apart', () => {
  const names = readContenders('x/a.gguf, y/a.gguf,a.gguf#kv=kv8').map(({ name }) => name);
  assert.deepEqual(names, ['a', 'a (2)', 'a#kv=kv8']);
});

test('groups hold as much as fits, and one model at least', () => {
  assert.deepEqual(groupBySize([3, 3, 3, 3], 6), [
    [0, 1],
    [2, 3],
  ]);
  assert.deepEqual(groupBySize([1, 9, 1], 5), [[0], [1], [2]]);
  assert.deepEqual(groupBySize([2, 2], -1), [[0], [1]]);
  assert.deepEqual(groupBySize([2, 2], 4), [[0, 1]]);
});

test('texts are the same until their first difference', () => {
  assert.equal(commonTokens([1, 2, 3], [1, 2, 3]), 3);
  assert.equal(commonTokens([1, 2, 3], [1, 5, 3]), 1);
  assert.equal(commonTokens([4, 2], [1, 2]), 0);
});

test('prompts come from all over the data', () => {
  const windows = Array.from({ length: 20 }, (_, i) => new Int32Array(100).fill(i));
  const prompts = choosePrompts(windows);
  assert.deepEqual(
    prompts.map((prompt) => [prompt.length, prompt[0]]),
    [0, 2, 5, 7, 10, 12, 15, 17].map((window) => [32, window]),
  );
  assert.equal(choosePrompts(windows.slice(0, 3)).length, 3);
});

test('the gate names every limit that is exceeded, and lets no NaN through', () => {
  const figures = { klMean: 0.05, ratio: 1.02 };
  assert.deepEqual(findExcess(figures, { maxKl: 0.05, maxPplRatio: 1.02 }), []);
  assert.deepEqual(findExcess(figures, { maxKl: 0.04 }), ['mean KL divergence 0.05 exceeds 0.04']);
  assert.equal(findExcess(figures, { maxKl: 0.01, maxPplRatio: 1 }).length, 2);
  assert.equal(findExcess({ klMean: Number.NaN, ratio: Number.NaN }, { maxKl: 1, maxPplRatio: 2 }).length, 2);
});
