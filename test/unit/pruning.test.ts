/** What is dropped where, and how requests with pruning go through the engine. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fitsLayers, planPruning, prunedTokens, prunedWindows } from '../../src/engine/pruning.js';
import { collect, promptOf, request, startKit } from '../support/engine-kit.js';

const plan = (keep: number, afterLayer: number, stages: number, layers = 30) => {
  const found = planPruning({ keep, afterLayer, stages }, layers) ?? assert.fail('nothing is dropped');
  return { layers: [...found.layers], tokens: [...found.tokens] };
};

describe('the plan', () => {
  test('drops the same share at each stage, evenly spread, and rounds what stays up to KV blocks', () => {
    // Three quarters of what stays are the most important: 0.375 of 16 blocks.
    assert.deepEqual(plan(0.5, 7, 1), { layers: [8], tokens: [96] });
    // In two equal shares: √0.375 · 16 = 9.8, then 6.
    assert.deepEqual(plan(0.5, 7, 2), { layers: [8, 19], tokens: [160, 96] });
    // 1/16 in four: halves each time, without a block more for a rounded power.
    assert.deepEqual(plan(1 / 12, 1, 4), { layers: [2, 9, 16, 23], tokens: [128, 64, 32, 16] });
    assert.deepEqual(plan(0.51, 0, 1), { layers: [1], tokens: [112] });
    assert.deepEqual(plan(0.001, 0, 1), { layers: [1], tokens: [16] });
  });

  test('is none where every token stays', () => {
    assert.equal(planPruning({ keep: 1, afterLayer: 3, stages: 2 }, 30), null);
  });

  test('leaves the end whole, as far as what stays in all allows, but at least a window', () => {
    const windows = (keep: number, promptTokens: number) =>
      prunedWindows(planPruning({ keep, afterLayer: 7, stages: 1 }, 30) ?? assert.fail(), promptTokens);
    assert.deepEqual(
      [0, 255, 256, 511, 512, 1100].map((tokens) => windows(0.5, tokens)),
      [0, 0, 0, 0, 1, 3],
    );
    // Of 10 windows 8 keep 6 of 16 blocks and 2 all: 5 windows' worth. Of 20 it is 4.
    assert.deepEqual(
      [2560, 5120].map((tokens) => windows(0.5, tokens)),
      [8, 16],
    );
    // 0.75: 9 of 16 blocks; (20 · 0.75 − 20 · 9/16) / (7/16) = 8.6 windows stay whole.
    assert.equal(windows(0.75, 5120), 12);
  });

  test('needs a layer behind each stage', () => {
    assert.equal(fitsLayers({ keep: 0.5, afterLayer: 28, stages: 1 }, 30), true);
    assert.equal(fitsLayers({ keep: 0.5, afterLayer: 29, stages: 1 }, 30), false);
    assert.equal(fitsLayers({ keep: 0.5, afterLayer: 27, stages: 3 }, 30), false);
    assert.deepEqual(plan(0.25, 25, 4), { layers: [26, 27, 28, 29], tokens: [176, 112, 80, 48] });
  });

  test('has a policy of its own for whatever differs', () => {
    const seen = new Map<number, string>();
    for (const keep of [0.05, 0.25, 0.5, 0.51, 0.9])
      for (const afterLayer of [0, 1, 7, 15])
        for (const stages of [1, 2, 4]) {
          const found = planPruning({ keep, afterLayer, stages }, 30) ?? assert.fail();
          const text = `${found.layers} ${found.tokens}`;
          assert.equal(seen.get(found.policy) ?? text, text);
          seen.set(found.policy, text);
        }
    assert.equal(seen.size, 5 * 4 * 3);
  });
});

describe('a pruned request', () => {
  const pruning = planPruning({ keep: 0.5, afterLayer: 7, stages: 1 }, 30) ?? assert.fail();
  const signal = new AbortController().signal;
  const kit = () => startKit({ config: { contextTokensMax: 1024, sequencesMax: 8 } });

  test('says how many tokens were pruned: whole windows only', async () => {
    assert.equal(prunedTokens(pruning, 511), 0);
    assert.equal(prunedTokens(pruning, 512), 160);
    assert.equal(prunedTokens(pruning, 800), 2 * 160);
    const { engine } = kit();
    const ends: unknown[] = [];
    const requests = [600, 200].map((count) => request(promptOf(count, 1), 3, { pruning }));
    for (const generation of engine.submit(requests, signal)) {
      for await (const event of generation) if (event.kind === 'end') ends.push(event.prunedTokens);
    }
    assert.deepEqual(ends, [160, undefined]);
    await engine.close();
  });

  test('tells the addon, and never shares a beginning with one that is not pruned, or otherwise', async () => {
    const { engine, native } = kit();
    const other = planPruning({ keep: 0.25, afterLayer: 7, stages: 1 }, 30) ?? assert.fail();
    const seen: unknown[] = [];
    const open = native.openSlot.bind(native);
    native.openSlot = (sampling) => {
      seen.push(sampling.pruning && { ...sampling.pruning, layers: [...sampling.pruning.layers] });
      return open(sampling);
    };
    const cached = async (more: object) => {
      const [generation] = engine.submit([request(promptOf(700, 2), 2, more)], signal);
      return (await collect(generation ?? assert.fail())).cachedTokens;
    };
    assert.equal(await cached({}), 0);
    assert.equal(await cached({ pruning }), 0);
    assert.equal(await cached({ pruning: other }), 0);
    // Windows that lose tokens; of a whole prompt whole blocks.
    assert.equal(await cached({ pruning }), 256);
    assert.equal(await cached({}), 688);
    const spec = { windows: 1, layers: [8], tokens: pruning.tokens, isRandom: false };
    assert.deepEqual(seen, [undefined, spec, { ...spec, tokens: other.tokens }, spec, undefined]);
    await engine.close();
  });

  test('is refused where the prompt is scored', async () => {
    const { engine } = kit();
    const scored = request(promptOf(300, 1), 0, { pruning, scorePrompt: true, logprobs: 0 });
    assert.throws(() => engine.submit([scored], signal), { code: 'invalid_request', param: 'token_pruning' });
    await engine.close();
  });
});
