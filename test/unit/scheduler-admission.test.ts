import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { admitAll, enter, makeScheduler, sampledAll, spec } from '../support/scheduler-kit.js';

describe('admission', () => {
  it('takes blocks as tokens are planned, not for what may come', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 16, Number.POSITIVE_INFINITY));
    assert.equal(scheduler.kv.pool.usedCount, 0);
    const plan = scheduler.plan() ?? assert.fail();
    assert.equal(scheduler.kv.pool.usedCount, 1);
    scheduler.complete(plan, sampledAll(plan, 1));
    scheduler.plan();
    assert.equal(scheduler.kv.pool.usedCount, 2);
  });

  it('leaves the blocks that running prompts still need, and one for each running sequence', () => {
    const { scheduler } = makeScheduler({ blockCount: 10, stepTokensMax: 16 });
    // Seven blocks for a's prompt, of which one step has taken one; two more for b's; one in reserve is left for a.
    enter(scheduler, spec('a', 112, 4));
    const plan = scheduler.plan() ?? assert.fail();
    scheduler.submit([spec('b', 33, 1, { promptIds: new Int32Array(33) })]);
    assert.deepEqual(admitAll(scheduler), []);
    scheduler.submit([spec('c', 32, 1, { promptIds: new Int32Array(32), priority: -1 })]);
    assert.deepEqual(admitAll(scheduler), ['c']);
    scheduler.complete(plan, sampledAll(plan, 1));
  });

  it('keeps the order: a large sequence that must wait is not overtaken by small ones', () => {
    const { scheduler } = makeScheduler({ blockCount: 8 });
    const first = enter(scheduler, spec('first', 33, 48));
    scheduler.submit([spec('large', 80, 1)]);
    scheduler.submit([spec('small', 1, 1)]);
    assert.deepEqual(admitAll(scheduler), []);
    scheduler.end(first);
    assert.deepEqual(admitAll(scheduler), ['large', 'small']);
  });

  it('refuses what can never run', () => {
    const { scheduler } = makeScheduler({ blockCount: 8 });
    assert.deepEqual(scheduler.submit([spec('a', 257, 1)]), {
      kind: 'refused',
      refusal: { kind: 'prompt_too_long', promptTokens: 257, limitTokens: 256 },
    });
    assert.deepEqual(scheduler.submit([spec('a', 100, 29)]), {
      kind: 'refused',
      refusal: { kind: 'never_fits', neededTokens: 129, capacityTokens: 128 },
    });
    assert.equal(scheduler.submit([spec('a', 100, 28)]).kind, 'accepted');
  });

  it('queues the sequences of a request all or none', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 2, waitingMax: 3 });
    const many = (count: number) => Array.from({ length: count }, (_, i) => spec(`s${i}`, 4, 4));
    assert.equal(scheduler.submit(many(6)).kind, 'refused');
    assert.equal(scheduler.waiting.length, 0);
    assert.equal(scheduler.submit(many(5)).kind, 'accepted');
    assert.deepEqual(admitAll(scheduler), ['s0', 's1']);
    assert.equal(scheduler.waiting.length, 3);
    assert.deepEqual(scheduler.submit(many(1)), { kind: 'refused', refusal: { kind: 'queue_full', waiting: 3 } });
  });

  it('counts as waiting what free slots but no free blocks await', () => {
    const { scheduler } = makeScheduler({ blockCount: 4, waitingMax: 1 });
    const big = spec('s', 48, 1);
    assert.equal(scheduler.submit([big, big, big]).kind, 'refused');
    assert.equal(scheduler.submit([big, big]).kind, 'accepted');
  });

  it('queues nothing for a sequence with nothing to compute', () => {
    const { scheduler, released } = makeScheduler();
    const submission = scheduler.submit([spec('a', 4, 0), spec('b', 1, 0, { scorePrompt: true, topCount: 0 })]);
    assert.ok(submission.kind === 'accepted');
    assert.deepEqual(
      submission.sequences.map(({ state, isComplete }) => ({ state, isComplete })),
      [
        { state: 'released', isComplete: true },
        { state: 'released', isComplete: true },
      ],
    );
    assert.ok(scheduler.isIdle);
    assert.deepEqual(released, []);
  });
});

describe('ending', () => {
  it('takes a waiting sequence out of the line, once', () => {
    const { scheduler, released } = makeScheduler({ sequencesMax: 1 });
    enter(scheduler, spec('a', 4, 4));
    const waiting = enter(scheduler, spec('b', 4, 4));
    assert.equal(scheduler.end(waiting), true);
    assert.equal(scheduler.end(waiting), false);
    assert.equal(scheduler.waiting.length, 0);
    assert.deepEqual(released, []);
  });

  it('gives blocks back at once, and the slot when every step in flight has returned', () => {
    const { scheduler, released } = makeScheduler();
    const sequence = enter(scheduler, spec('a', 4, 9));
    const first = scheduler.plan() ?? assert.fail();
    const second = scheduler.plan() ?? assert.fail();
    assert.equal(scheduler.end(sequence), true);
    assert.deepEqual([scheduler.kv.pool.usedCount, released], [0, []]);
    scheduler.complete(first, sampledAll(first, 1));
    assert.deepEqual(released, []);
    assert.equal(scheduler.end(sequence), false);
    scheduler.complete(second, sampledAll(second, 1));
    assert.deepEqual(released, ['a']);
  });

  it('ends exactly the sequences of a failed step', () => {
    const { scheduler, released } = makeScheduler({ stepTokensMax: 8 });
    enter(scheduler, spec('a', 4, 9));
    const first = scheduler.plan() ?? assert.fail();
    enter(scheduler, spec('b', 4, 9));
    const second = scheduler.plan() ?? assert.fail();
    assert.deepEqual(
      scheduler.fail(first).map(({ owner }) => owner),
      ['a'],
    );
    assert.deepEqual(released, []);
    scheduler.complete(second, sampledAll(second, 1));
    assert.deepEqual(released, ['a']);
    assert.deepEqual(
      scheduler.running.map(({ owner, known }) => ({ owner, known })),
      [{ owner: 'b', known: 5 }],
    );
  });
});
