import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { collect, promptOf, request, settleTurns, startKit, stopKit, submitOne } from '../support/engine-kit.js';

const manual = { mode: { kind: 'manual' } } as const;

describe('abort', () => {
  it('ends a waiting sequence, which never starts', async () => {
    const kit = startKit({ config: { sequencesMax: 1 } });
    const first = submitOne(kit.engine, request(promptOf(4, 1), 5));
    const controller = new AbortController();
    const second = submitOne(kit.engine, request(promptOf(4, 2), 5), controller.signal);
    assert.equal(kit.engine.gauges().waiting, 1);
    controller.abort();
    assert.equal(kit.engine.gauges().waiting, 0);
    assert.deepEqual(await collect(second), {
      text: '',
      tokenIds: [],
      logprobs: [],
      prompt: null,
      reason: 'abort',
      completionTokens: 0,
      cachedTokens: 0,
    });
    assert.equal((await collect(first)).completionTokens, 5);
    await stopKit(kit);
  });

  it('gives blocks back at once, and the slot when the last step in flight has returned', async () => {
    const kit = startKit({ native: manual });
    const controller = new AbortController();
    const generation = submitOne(kit.engine, request(promptOf(4, 1), 50), controller.signal);
    await settleTurns();
    assert.equal(kit.native.stepsInFlight, 2);
    controller.abort();
    assert.equal((await collect(generation)).reason, 'abort');
    const heldNow = () => {
      const { stepCostMs: _, ...gauges } = kit.engine.gauges();
      return gauges;
    };
    const held = {
      running: 1,
      waiting: 0,
      kvBlocksTotal: 256,
      kvBlocksUsed: 0,
      kvBlocksCached: 0,
      queueSeconds: 0,
      preemptions: 0,
      speculation: { drafts: 0, draftTokens: 0, acceptedTokens: 0 },
    };
    assert.deepEqual(heldNow(), held);
    kit.native.finish();
    await settleTurns();
    assert.deepEqual(heldNow(), held);
    assert.equal(kit.native.stepsInFlight, 1, 'no step is started for it');
    kit.native.finish();
    await settleTurns();
    await stopKit(kit);
  });

  it('lets those behind it start', async () => {
    const kit = startKit({ config: { kvBlockCount: 6 }, native: manual });
    const running = submitOne(kit.engine, request(promptOf(4, 1), 1));
    const controller = new AbortController();
    const large = submitOne(kit.engine, request(promptOf(90, 2), 6), controller.signal);
    const small = submitOne(kit.engine, request(promptOf(4, 3), 1));
    await settleTurns();
    assert.deepEqual([kit.native.stepsInFlight, kit.engine.gauges().waiting], [1, 2]);
    controller.abort();
    assert.equal((await collect(large)).reason, 'abort');
    await settleTurns();
    // Nothing has returned meanwhile: the abort itself woke the engine.
    assert.deepEqual([kit.native.stepsInFlight, kit.engine.gauges().waiting], [2, 0]);
    kit.native.finish();
    kit.native.finish();
    assert.deepEqual([(await collect(running)).reason, (await collect(small)).reason], ['length', 'length']);
    await stopKit(kit);
  });

  it('before submission ends at once', async () => {
    const kit = startKit();
    const result = await collect(submitOne(kit.engine, request(promptOf(4, 1), 5), AbortSignal.abort()));
    assert.deepEqual([result.reason, result.completionTokens], ['abort', 0]);
    assert.deepEqual(kit.native.stepTokens, []);
    await stopKit(kit);
  });

  it('follows from a reader that leaves its loop', async () => {
    const kit = startKit();
    for await (const event of submitOne(kit.engine, request(promptOf(4, 1), 500))) {
      if (event.kind === 'text') break;
    }
    await kit.engine.drain();
    assert.ok(kit.native.stepTokens.length < 20, `${kit.native.stepTokens.length} steps ran`);
    await stopKit(kit);
  });

  it('uses one listener per request and leaves none behind', async () => {
    const kit = startKit({ config: { sequencesMax: 4 } });
    const controller = new AbortController();
    const many = Array.from({ length: 100 }, (_, i) => request(promptOf(3, i), 3));
    const generations = kit.engine.submit(many, controller.signal);
    assert.equal(getEventListeners(controller.signal, 'abort').length, 1);
    await Promise.all(generations.map(collect));
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    await stopKit(kit);
  });

  it('ends hundreds at once, each once', async () => {
    const finished: string[] = [];
    const kit = startKit({
      config: { sequencesMax: 16 },
      native: { mode: { kind: 'auto', turns: 1 } },
      observer: { onFinished: ({ reason }) => finished.push(reason) },
    });
    const controller = new AbortController();
    const generations = [0, 1].flatMap((part) =>
      kit.engine.submit(
        Array.from({ length: 120 }, (_, i) => request(promptOf(9, i + part), 100)),
        controller.signal,
      ),
    );
    await settleTurns(8);
    controller.abort();
    const results = await Promise.all(generations.map(collect));
    assert.ok(results.every(({ reason }) => reason === 'abort'));
    assert.deepEqual(finished, new Array<string>(240).fill('abort'));
    await stopKit(kit);
  });
});
