import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { admitAll, enter, makeScheduler, sampledAll, spec } from '../support/scheduler-kit.js';

describe('admission', () => {
  it('reserves the blocks of prompt and max_tokens, capped by the context', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 10, 6));
    assert.equal(scheduler.pool.usedCount, 1);
    enter(scheduler, spec('b', 10, 7));
    assert.equal(scheduler.pool.usedCount, 3);
    enter(scheduler, spec('c', 10, Number.POSITIVE_INFINITY));
    assert.equal(scheduler.pool.usedCount, 3 + 256 / 16);
  });

  it('keeps the order: a large sequence that must wait is not overtaken by small ones', () => {
    const { scheduler } = makeScheduler({ blockCount: 6 });
    const first = enter(scheduler, spec('first', 16, 48));
    scheduler.submit([spec('large', 16, 64)]);
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
    const big = spec('s', 16, 32);
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

  it('keeps slot and blocks until every step in flight has returned', () => {
    const { scheduler, released } = makeScheduler();
    const sequence = enter(scheduler, spec('a', 4, 9));
    const first = scheduler.plan() ?? assert.fail();
    const second = scheduler.plan() ?? assert.fail();
    assert.equal(scheduler.end(sequence), true);
    assert.deepEqual([scheduler.pool.usedCount, released], [1, []]);
    scheduler.complete(first, sampledAll(first, 1));
    assert.deepEqual([scheduler.pool.usedCount, released], [1, []]);
    assert.equal(scheduler.end(sequence), false);
    scheduler.complete(second, sampledAll(second, 1));
    assert.deepEqual([scheduler.pool.usedCount, released], [0, ['a']]);
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
