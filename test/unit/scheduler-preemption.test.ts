import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Scheduler } from '../../src/scheduler/scheduler.js';
import type { SequenceSpec } from '../../src/scheduler/types.js';
import { admitAll, enter, makeScheduler, sampledAll, show, spec } from '../support/scheduler-kit.js';

/** A prompt of ids `first`, `first` + 1, … */
function own(owner: string, promptTokens: number, maxTokens: number, first: number): SequenceSpec<string> {
  const promptIds = Int32Array.from({ length: promptTokens }, (_, i) => first + i);
  return spec(owner, promptTokens, maxTokens, { promptIds });
}

/** One step after the other; returns the last. */
function runSteps(scheduler: Scheduler<string>, count: number, token: number): readonly string[] {
  let shown: readonly string[] = [];
  for (let i = 0; i < count; i++) {
    const plan = scheduler.plan() ?? assert.fail('there is nothing to do');
    shown = show(plan);
    scheduler.complete(plan, sampledAll(plan, token));
  }
  return shown;
}

describe('preemption', () => {
  it('pauses the last in rank, and takes its blocks when one before it needs them', () => {
    // Two blocks for each prompt, and the one in reserve that lets b start.
    const { scheduler, released } = makeScheduler({ blockCount: 5, lookAheadTokensMax: 0, stepTokensMax: 64 });
    const a = enter(scheduler, own('a', 31, 30, 100));
    const b = enter(scheduler, own('b', 31, 30, 200));
    runSteps(scheduler, 2, 7);
    assert.deepEqual([a.planned, b.planned, scheduler.kv.pool.availableCount], [32, 32, 1]);
    assert.deepEqual(runSteps(scheduler, 16, 8), ['a: 8 at 47, sample']);
    assert.deepEqual([b.state, b.blockCount, scheduler.preemptions], ['running', 2, 0]);
    assert.deepEqual(runSteps(scheduler, 1, 9), ['a: 8 at 48, sample']);
    assert.deepEqual([b.state, b.slot, b.sampledTokens, scheduler.preemptions], ['waiting', -1, 2, 1]);
    assert.deepEqual(released, ['b']);
    assert.deepEqual(admitAll(scheduler), [], 'it needs three blocks, and there is one');
    scheduler.end(a);
    assert.deepEqual(admitAll(scheduler), ['b']);
    // Of its blocks the second went to a; the first one was still there.
    assert.deepEqual(show(scheduler.plan()), ['b: 216..7 at 16, sample']);
    assert.deepEqual([...b.tokens.subarray(31, b.known)], [7, 7]);
    assert.equal(b.cachedTokens, 0, 'what it computed itself is no hit');
  });

  /** b takes the block in reserve, so that a finds none at position 32, while b is in flight. */
  function preemptInFlight() {
    const kit = makeScheduler({ blockCount: 4, stepTokensMax: 64, lookAheadTokensMax: 64 });
    const { scheduler } = kit;
    enter(scheduler, own('a', 20, 30, 100));
    const b = enter(scheduler, { ...own('b', 15, 30, 200), deadlineMs: 5 });
    let behind = scheduler.plan() ?? assert.fail();
    for (let step = 2; step <= 13; step++) {
      const next = scheduler.plan() ?? assert.fail();
      assert.equal(next.slotCount, 2);
      scheduler.complete(behind, sampledAll(behind, step));
      behind = next;
    }
    const last = scheduler.plan();
    assert.deepEqual(show(last), ['a: -1 at 32, sample']);
    assert.deepEqual([b.state, b.blockCount, kit.released], ['preempted', 0, []]);
    return { ...kit, b, behind, last: last ?? assert.fail() };
  }

  it('keeps the token that a step in flight samples, and the slot until then', () => {
    const { scheduler, released, b, behind } = preemptInFlight();
    scheduler.complete(behind, sampledAll(behind, 50));
    assert.deepEqual([b.state, released], ['waiting', ['b']]);
    assert.deepEqual([...b.tokens.subarray(15, b.known)], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 50]);
  });

  it('never times out: the wait for its first turn is over', () => {
    const { scheduler, b, behind } = preemptInFlight();
    scheduler.complete(behind, sampledAll(behind, 50));
    scheduler.submit([{ ...own('late', 4, 1, 300), deadlineMs: 5 }]);
    assert.equal(b.state, 'waiting');
    assert.deepEqual(
      scheduler.overdue(1000).map(({ owner }) => owner),
      ['late'],
    );
  });

  it('may be followed by an end before the step in flight returns, or by its failure', () => {
    const ended = preemptInFlight();
    assert.equal(ended.scheduler.end(ended.b), true);
    assert.equal(ended.scheduler.end(ended.b), false);
    ended.scheduler.complete(ended.behind, sampledAll(ended.behind, 50));
    assert.deepEqual([ended.b.state, ended.released, ended.scheduler.waiting.length], ['released', ['b'], 0]);

    const failed = preemptInFlight();
    assert.deepEqual(
      failed.scheduler.fail(failed.behind).map(({ owner }) => owner),
      ['a', 'b'],
    );
    failed.scheduler.complete(failed.last, sampledAll(failed.last, 50));
    assert.deepEqual([failed.released, failed.scheduler.isIdle], [['b', 'a'], true]);
  });

  it('does not ask again for scores that have been returned', () => {
    const { scheduler } = makeScheduler({ blockCount: 10, stepTokensMax: 4, stepRowsMax: 4, lookAheadTokensMax: 0 });
    const a = enter(scheduler, own('a', 20, 60, 100));
    const b = enter(scheduler, { ...own('b', 100, 0, 200), scorePrompt: true, topCount: 0 });
    // Five steps for a's prompt, then 32 of one token for a and three for b, until b finds no seventh block.
    assert.deepEqual(runSteps(scheduler, 37, 7), ['a: 7 at 51, sample', 'b: 293..295 at 93, 294 295 296']);
    assert.deepEqual(runSteps(scheduler, 12, 7), ['a: 7 at 63, sample']);
    assert.equal(b.state, 'running');
    runSteps(scheduler, 1, 7);
    assert.deepEqual([b.state, b.scored], ['waiting', 96]);
    scheduler.end(a);
    assert.deepEqual(admitAll(scheduler), ['b']);
    // Its last block went to a and is computed again, but not scored.
    for (const at of [80, 84, 88, 92]) {
      assert.deepEqual(runSteps(scheduler, 1, 7), [`b: ${200 + at}..${203 + at} at ${at}, no row`]);
    }
    assert.deepEqual(runSteps(scheduler, 1, 7), ['b: 296..298 at 96, 297 298 299']);
    assert.ok(b.isComplete);
  });

  it('hits the lowest priority first, then the latest arrival', () => {
    const { scheduler } = makeScheduler({ blockCount: 6, stepTokensMax: 64, lookAheadTokensMax: 0 });
    enter(scheduler, { ...own('low', 16, 60, 100), priority: 5 });
    enter(scheduler, own('first', 16, 60, 200));
    enter(scheduler, own('second', 16, 60, 300));
    const order: string[] = [];
    for (let step = 0; step < 50; step++) {
      runSteps(scheduler, 1, 7);
      for (const { owner } of scheduler.waiting) if (!order.includes(owner)) order.push(owner);
    }
    assert.deepEqual(order, ['low', 'second']);
  });

  it('comes back before others of its priority, and after those of a higher one', () => {
    const { scheduler, b, behind, last } = preemptInFlight();
    scheduler.submit([own('later', 4, 1, 300), { ...own('urgent', 4, 1, 400), priority: -1 }]);
    scheduler.complete(behind, sampledAll(behind, 50));
    scheduler.complete(last, sampledAll(last, 50));
    for (const sequence of [...scheduler.running]) scheduler.end(sequence);
    assert.deepEqual(admitAll(scheduler), ['urgent', 'b']);
    assert.equal(b.preemptions, 1);
  });
});
