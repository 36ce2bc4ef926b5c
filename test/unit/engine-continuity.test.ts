import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { greedy } from '../../src/engine/greedy.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import { byteTokenizer, collect, promptOf, request, startKit, stopKit, submitOne } from '../support/engine-kit.js';
import { fakeToken } from '../support/fake-text.js';

/** The fake model's own continuation, without engine, batch or cache. */
function expectedIds(one: GenerationRequest): number[] {
  const history = Array.from(one.promptIds);
  const sampling = { ...one.sampling, promptIds: one.promptIds, generatedIds: new Int32Array(0) };
  for (let i = 0; i < one.maxTokens; i++) history.push(fakeToken(history, sampling, 256));
  return history.slice(one.promptIds.length);
}

const requests = [
  request(promptOf(1, 1), 20),
  request(promptOf(15, 2), 33),
  request(promptOf(16, 3), 1),
  request(promptOf(17, 4), 40),
  request(promptOf(130, 5), 17),
  request(promptOf(300, 6), 9, { sampling: { ...greedy, temperature: 1, seed: 7n, choice: 2 } }),
];

describe('a sequence gets the same tokens', () => {
  it('alone', async () => {
    for (const one of requests) {
      const kit = startKit();
      const result = await collect(submitOne(kit.engine, one));
      assert.deepEqual(result.tokenIds, expectedIds(one));
      assert.equal(result.reason, 'length');
      assert.equal(result.completionTokens, one.maxTokens);
      await stopKit(kit);
    }
  });

  for (const stepTokensMax of [6, 16, 37, 512]) {
    for (const lookAheadTokensMax of [0, 8, 512]) {
      it(`batched, in steps of ${stepTokensMax} tokens, looking ahead over ${lookAheadTokensMax}`, async () => {
        const config = { stepTokensMax, lookAheadTokensMax, sequencesMax: 6 };
        const kit = startKit({ config, native: { stepTokensMax, mode: { kind: 'auto', turns: 1 } } });
        const results = await Promise.all(kit.engine.submit(requests, new AbortController().signal).map(collect));
        assert.deepEqual(
          results.map((result) => result.tokenIds),
          requests.map(expectedIds),
        );
        assert.ok(Math.max(...kit.native.stepTokens) <= stepTokensMax);
        assert.equal(kit.native.inFlightPeak, lookAheadTokensMax === 0 ? 1 : 2);
        await stopKit(kit);
      });
    }
  }

  it('with fewer slots and blocks than sequences', async () => {
    const kit = startKit({ config: { sequencesMax: 2, kvBlockCount: 21 } });
    const results = await Promise.all(kit.engine.submit(requests, new AbortController().signal).map(collect));
    assert.deepEqual(
      results.map((result) => result.tokenIds),
      requests.map(expectedIds),
    );
    await stopKit(kit);
  });
});

describe('a sequence that finds its beginning in the cache', () => {
  const prompt = promptOf(50, 1);

  it('gets the same tokens, and is told how many were found', async () => {
    const kit = startKit();
    const first = await collect(submitOne(kit.engine, request(prompt, 20)));
    const second = await collect(submitOne(kit.engine, request(prompt, 20)));
    assert.deepEqual([first.cachedTokens, second.cachedTokens], [0, 48]);
    assert.deepEqual(first.tokenIds, expectedIds(request(prompt, 20)));
    assert.deepEqual(second.tokenIds, first.tokenIds);
    // The conversation goes on: prompt and answer are in the cache but for the last, unfinished block.
    const longer = request([...prompt, ...first.tokenIds, 1, 2, 3], 5);
    const third = await collect(submitOne(kit.engine, longer));
    assert.deepEqual([third.cachedTokens, third.tokenIds], [64, expectedIds(longer)]);
    await stopKit(kit);
  });

  it('as choices of one prompt do, which compute it once', async () => {
    const kit = startKit();
    const choices = Array.from({ length: 5 }, (_, choice) =>
      request(prompt, 8, { sampling: { ...greedy, temperature: 1, seed: 9n, choice } }),
    );
    const results = await Promise.all(kit.engine.submit(choices, new AbortController().signal).map(collect));
    assert.deepEqual(
      results.map(({ tokenIds }) => tokenIds),
      choices.map(expectedIds),
    );
    await stopKit(kit);
    const computed = kit.native.stepTokens.reduce((sum, tokens) => sum + tokens);
    assert.equal(computed, 50 + 4 * 2 + 5 * 7);
  });
});

it('a sequence that was preempted goes on with the same tokens', async () => {
  const kit = startKit({ config: { kvBlockCount: 14 } });
  const many = [1, 2, 3, 4].map((salt) =>
    request(promptOf(30, salt), 100, { sampling: { ...greedy, temperature: 1, seed: BigInt(salt), choice: 0 } }),
  );
  const results = await Promise.all(kit.engine.submit(many, new AbortController().signal).map(collect));
  assert.deepEqual(
    results.map(({ tokenIds, completionTokens }) => ({ tokenIds, completionTokens })),
    many.map((one) => ({ tokenIds: expectedIds(one), completionTokens: 100 })),
  );
  // Each needs nine blocks.
  assert.ok(kit.engine.gauges().preemptions >= 2);
  await stopKit(kit);
});

describe('look-ahead', () => {
  it('queues the next decode behind the running one and never computes beyond max_tokens', async () => {
    const kit = startKit();
    await collect(submitOne(kit.engine, request(promptOf(5, 1), 10)));
    await stopKit(kit);
    assert.equal(kit.native.inFlightPeak, 2);
    // Five prompt tokens give the first sample; nine more inputs give the other nine.
    assert.deepEqual(kit.native.stepTokens, [5, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('drops the step behind an end token', async () => {
    const history = Array.from(promptOf(5, 1));
    const kit = startKit({
      native: { sample: (ids) => (ids.length === history.length + 2 ? 255 : 65) },
      tokenizer: byteTokenizer([255]),
    });
    const result = await collect(submitOne(kit.engine, request(history, 10)));
    assert.deepEqual(
      { text: result.text, reason: result.reason, completionTokens: result.completionTokens },
      { text: 'AA', reason: 'stop', completionTokens: 3 },
    );
    await stopKit(kit);
    // The third sample is the end; the step already queued behind it is the one that was wasted.
    assert.deepEqual(kit.native.stepTokens, [5, 1, 1, 1]);
  });
});
