import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { greedy } from '../../src/engine/greedy.js';
import { collect, promptOf, request, startKit, stopKit, submitOne } from '../support/engine-kit.js';
import { fakeLogprob, fakeToken, hashIds } from '../support/fake-text.js';

function expectedScores(ids: readonly number[], topCount: number) {
  return ids.map((tokenId, i) => {
    if (i === 0) return { tokenId, logprob: null, top: [] };
    const history = ids.slice(0, i);
    const top = Array.from({ length: topCount }, (_, k) => {
      const id = (hashIds(history, 77) + k) % 256;
      return { tokenId: id, logprob: fakeLogprob(history, id) };
    });
    return { tokenId, logprob: fakeLogprob(history, tokenId), top };
  });
}

describe('scoring a prompt', () => {
  for (const stepRowsMax of [4, 7, 512]) {
    it(`gives every token its log-probability, at most ${stepRowsMax} rows a step`, async () => {
      const kit = startKit({ config: { stepRowsMax, sequencesMax: 4 }, native: { stepRowsMax } });
      const prompt = promptOf(41, 3);
      const result = await collect(submitOne(kit.engine, request(prompt, 0, { scorePrompt: true, logprobs: 2 })));
      assert.deepEqual(result.prompt, expectedScores([...prompt], 2));
      assert.deepEqual([result.text, result.reason, result.completionTokens], ['', 'length', 0]);
      await stopKit(kit);
      // The last prompt token predicts nothing that was asked for.
      assert.equal(
        kit.native.stepTokens.reduce((sum, tokens) => sum + tokens),
        40,
      );
    });
  }

  it('comes before the continuation, and both carry log-probabilities', async () => {
    const kit = startKit();
    const prompt = promptOf(20, 1);
    const result = await collect(submitOne(kit.engine, request(prompt, 3, { scorePrompt: true, logprobs: 1 })));
    const history = [...prompt];
    const sampling = { ...greedy, promptIds: prompt, generatedIds: new Int32Array(0) };
    for (let i = 0; i < 3; i++) history.push(fakeToken(history, sampling, 256));
    const all = expectedScores(history, 1);
    assert.deepEqual(result.prompt, all.slice(0, 20));
    assert.deepEqual(result.logprobs, all.slice(20));
    assert.deepEqual(result.tokenIds, history.slice(20));
    await stopKit(kit);
  });

  it('gives each sequence of a step as many alternatives as it asked for', async () => {
    const kit = startKit();
    const wanted = [null, 0, 5, 2];
    const generations = kit.engine.submit(
      wanted.map((logprobs, i) => request(promptOf(9, i), 4, { logprobs })),
      new AbortController().signal,
    );
    const results = await Promise.all(generations.map(collect));
    for (const [i, { logprobs, tokenIds }] of results.entries()) {
      const history = [...promptOf(9, i), ...tokenIds];
      const topCount = wanted[i] ?? null;
      assert.deepEqual(logprobs, topCount === null ? [] : expectedScores(history, topCount).slice(9));
    }
    await stopKit(kit);
  });

  it('of one token needs no step', async () => {
    const kit = startKit();
    const result = await collect(submitOne(kit.engine, request([5], 0, { scorePrompt: true, logprobs: 1 })));
    assert.deepEqual(result.prompt, [{ tokenId: 5, logprob: null, top: [] }]);
    assert.equal(result.reason, 'length');
    await stopKit(kit);
    assert.deepEqual(kit.native.stepTokens, []);
  });
});

describe('max_tokens', () => {
  it('0 without scoring ends at once', async () => {
    const kit = startKit();
    const result = await collect(submitOne(kit.engine, request(promptOf(9, 1), 0)));
    assert.deepEqual([result.text, result.reason, result.completionTokens], ['', 'length', 0]);
    assert.deepEqual(kit.native.stepTokens, []);
    await stopKit(kit);
  });

  it('beyond the context ends at the context with length', async () => {
    const kit = startKit({ config: { contextTokensMax: 32 } });
    const result = await collect(submitOne(kit.engine, request(promptOf(27, 1), 1000)));
    assert.deepEqual([result.reason, result.completionTokens], ['length', 5]);
    const full = await collect(submitOne(kit.engine, request(promptOf(32, 1), 1000)));
    assert.deepEqual([full.reason, full.completionTokens], ['length', 0]);
    await stopKit(kit);
  });
});
