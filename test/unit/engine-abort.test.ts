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
    });
    assert.equal((await collect(first)).completionTokens, 5);
    await stopKit(kit);
  });

  it('gives blocks and slot back when the last step in flight has returned', async () => {
    const kit = startKit({ native: manual });
    const controller = new AbortController();
    const generation = submitOne(kit.engine, request(promptOf(4, 1), 50), controller.signal);
    await settleTurns();
    assert.equal(kit.native.stepsInFlight, 2);
    controller.abort();
    assert.equal((await collect(generation)).reason, 'abort');
    const held = { running: 1, waiting: 0, kvBlocksTotal: 256, kvBlocksUsed: 4 };
    assert.deepEqual(kit.engine.gauges(), held);
    kit.native.finish();
    await settleTurns();
    assert.deepEqual(kit.engine.gauges(), held);
    assert.equal(kit.native.stepsInFlight, 1, 'no step is started for it');
    kit.native.finish();
    await settleTurns();
    await stopKit(kit);
  });

  it('lets those behind it start', async () => {
    const kit = startKit({ config: { sequencesMax: 1 }, native: manual });
    const controller = new AbortController();
    const generation = submitOne(kit.engine, request(promptOf(4, 1), 50), controller.signal);
    const next = submitOne(kit.engine, request(promptOf(4, 2), 1));
    // Nothing is in flight yet, so only the abort itself can wake the engine.
    controller.abort();
    assert.equal((await collect(generation)).reason, 'abort');
    await settleTurns();
    kit.native.finish();
    assert.equal((await collect(next)).reason, 'length');
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
