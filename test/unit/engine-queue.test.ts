import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { collect, promptOf, request, settleTurns, startKit, stopKit, submitOne } from '../support/engine-kit.js';

const manual = { mode: { kind: 'manual' } } as const;

describe('the queue', () => {
  it('gives up on what has waited too long, with an error and a time to retry', async () => {
    let nowMs = 0;
    const config = { sequencesMax: 1, queueMsMax: 30_000, lookAheadTokensMax: 0 };
    const kit = startKit({ config, native: manual, now: () => nowMs });
    const running = submitOne(kit.engine, request(promptOf(4, 1), 3));
    const waiting = submitOne(kit.engine, request(promptOf(4, 2), 1));
    await settleTurns();
    nowMs = 29_999;
    kit.native.finish();
    await settleTurns();
    assert.equal(kit.engine.gauges().waiting, 1);
    assert.equal(kit.engine.gauges().queueSeconds, 29.999);
    nowMs = 30_000;
    kit.native.finish();
    await settleTurns();
    // Nothing has left the line for thirty seconds: why should it be faster from now on?
    await assert.rejects(collect(waiting), (error) => {
      assert.ok(error instanceof NibbleError);
      assert.deepEqual([error.code, error.status, error.retryAfterSeconds], ['queue_timeout', 503, 30]);
      return true;
    });
    kit.native.finish();
    assert.equal((await collect(running)).reason, 'length');
    await stopKit(kit);
  });

  it('names the time after which there should be room', async () => {
    let nowMs = 0;
    const config = { sequencesMax: 1, waitingMax: 2 };
    const kit = startKit({ config, native: manual, now: () => nowMs });
    const generations = [1, 2, 3].map((salt) => submitOne(kit.engine, request(promptOf(4, salt), 1)));
    for (let i = 0; i < 2; i++) {
      await settleTurns();
      nowMs += 7000;
      kit.native.finish();
    }
    await settleTurns();
    for (let salt = 4; salt <= 5; salt++) generations.push(submitOne(kit.engine, request(promptOf(4, salt), 1)));
    // The line has moved every seven seconds.
    const three = [6, 7, 8].map((salt) => request(promptOf(4, salt), 1));
    assert.throws(
      () => kit.engine.submit(three, new AbortController().signal),
      (error) => error instanceof NibbleError && error.code === 'queue_full' && error.retryAfterSeconds === 21,
    );
    for (let i = 0; i < 3; i++) {
      kit.native.finish();
      await settleTurns();
    }
    for (const generation of generations) assert.equal((await collect(generation)).reason, 'length');
    await stopKit(kit);
  });
});
