import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { enter, makeScheduler, sampledAll, show, spec } from '../support/scheduler-kit.js';

describe('look-ahead', () => {
  it('plans the next token as −1 while the step that samples it is in flight', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 4, 9));
    const first = scheduler.plan() ?? assert.fail();
    const second = scheduler.plan() ?? assert.fail();
    assert.deepEqual(show(first), ['a: 100..103 at 0, sample']);
    assert.deepEqual(show(second), ['a: -1 at 4, sample']);
    assert.equal(scheduler.plan(), null, 'two steps are in flight');
    scheduler.complete(first, sampledAll(first, 50));
    // The third step again follows right behind the second, whose sample isn't known.
    assert.deepEqual(show(scheduler.plan()), ['a: -1 at 5, sample']);
  });

  it('uses the token itself once it is known', () => {
    const { scheduler } = makeScheduler({ lookAheadTokensMax: 0 });
    enter(scheduler, spec('a', 4, 9));
    const first = scheduler.plan() ?? assert.fail();
    assert.equal(scheduler.plan(), null);
    scheduler.complete(first, sampledAll(first, 50));
    assert.deepEqual(show(scheduler.plan()), ['a: 50 at 4, sample']);
  });

  it('waits for a step that is long enough to hide the turn', () => {
    const { scheduler } = makeScheduler({ lookAheadTokensMax: 8 });
    enter(scheduler, spec('a', 9, 9));
    const first = scheduler.plan() ?? assert.fail();
    assert.equal(scheduler.canPlan, false);
    scheduler.complete(first, sampledAll(first, 50));
    const second = scheduler.plan() ?? assert.fail();
    assert.equal(second.tokenCount, 1);
    assert.equal(scheduler.canPlan, true);
  });

  it('never plans beyond max_tokens', () => {
    const { scheduler } = makeScheduler();
    const sequence = enter(scheduler, spec('a', 4, 2));
    const first = scheduler.plan() ?? assert.fail();
    const second = scheduler.plan() ?? assert.fail();
    scheduler.complete(first, sampledAll(first, 50));
    assert.equal(scheduler.plan(), null);
    assert.equal(sequence.isComplete, false);
    scheduler.complete(second, sampledAll(second, 51));
    assert.equal(sequence.isComplete, true);
    assert.deepEqual(sequence.tokens, Int32Array.of(100, 101, 102, 103, 50, 51));
    assert.equal(scheduler.plan(), null);
  });

  it('refuses results out of order', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 4, 9));
    scheduler.plan();
    const second = scheduler.plan() ?? assert.fail();
    assert.throws(() => scheduler.complete(second, sampledAll(second, 1)), /oldest/);
  });
});
