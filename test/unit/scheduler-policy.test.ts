import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Scheduler } from '../../src/scheduler/scheduler.js';
import type { StepPlan } from '../../src/scheduler/step-plan.js';
import { enter, makeScheduler, type Name, sampledAll, show, smallLimits, spec } from '../support/scheduler-kit.js';

function planOf(scheduler: Scheduler<Name>): StepPlan<Name> {
  return scheduler.plan() ?? assert.fail('there is work to plan');
}

describe('policy', () => {
  it('cuts a prompt into chunks of the token budget and samples after the last one', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 70, 4));
    const shown: unknown[] = [];
    for (let i = 0; i < 3; i++) {
      const plan = planOf(scheduler);
      shown.push(show(plan));
      scheduler.complete(plan, sampledAll(plan, 7));
    }
    assert.deepEqual(shown, [
      ['a: 100..131 at 0, no row'],
      ['a: 132..163 at 32, no row'],
      ['a: 164..169 at 64, sample'],
    ]);
    assert.deepEqual(show(planOf(scheduler)), ['a: 7 at 70, sample']);
  });

  it('puts decodes first, then prompts in order of admission until the budget is spent', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 3, 9));
    const first = planOf(scheduler);
    scheduler.complete(first, sampledAll(first, 7));
    enter(scheduler, spec('b', 20, 4));
    const promptIds = Int32Array.from({ length: 40 }, (_, i) => 200 + i);
    enter(scheduler, spec('c', 40, 4, { promptIds }));
    enter(scheduler, spec('d', 5, 4));
    const plan = planOf(scheduler);
    assert.deepEqual(show(plan), ['a: 7 at 3, sample', 'b: 100..119 at 0, sample', 'c: 200..210 at 0, no row']);
    assert.equal(plan.tokenCount, 32);
    assert.deepEqual([plan.prefillTokens, plan.decodeTokens], [31, 1]);
    scheduler.complete(plan, sampledAll(plan, 8));
    assert.deepEqual(show(planOf(scheduler)), [
      'a: 8 at 4, sample',
      'b: 8 at 20, sample',
      'c: 211..239 at 11, sample',
      'd: 100 at 0, no row',
    ]);
  });

  it('wants a row for each scored prompt token and chunks by the row budget', () => {
    const { scheduler } = makeScheduler({ stepRowsMax: 5 });
    enter(scheduler, spec('a', 7, 1, { scorePrompt: true, topCount: 3 }));
    const first = planOf(scheduler);
    assert.deepEqual(show(first), ['a: 100..104 at 0, 101 102 103 104 105']);
    assert.deepEqual([first.wantLogprobs, first.topCount], [true, 3]);
    scheduler.complete(first, sampledAll(first, 0));
    assert.deepEqual(show(planOf(scheduler)), ['a: 105..106 at 5, 106 sample']);
  });

  it('scores a prompt without sampling when no token is wanted', () => {
    const { scheduler, released } = makeScheduler();
    const sequence = enter(scheduler, spec('a', 4, 0, { scorePrompt: true, topCount: 0 }));
    const plan = planOf(scheduler);
    assert.deepEqual(show(plan), ['a: 100..102 at 0, 101 102 103']);
    assert.equal(sequence.isComplete, false);
    scheduler.complete(plan, sampledAll(plan, 0));
    assert.equal(sequence.isComplete, true);
    assert.equal(scheduler.plan(), null);
    scheduler.end(sequence);
    assert.deepEqual(released, ['a']);
  });

  it('asks for log-probabilities only in steps with a row that wants them', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 8 });
    enter(scheduler, spec('a', 12, 2, { topCount: 2 }));
    const first = planOf(scheduler);
    assert.deepEqual([first.rowCount, first.wantLogprobs, first.topCount], [0, false, 0]);
    scheduler.complete(first, sampledAll(first, 0));
    const second = planOf(scheduler);
    assert.deepEqual([second.rowCount, second.wantLogprobs, second.topCount], [1, true, 2]);
  });

  it('lists exactly the blocks that cached and new tokens need', () => {
    const { scheduler } = makeScheduler();
    const sequence = enter(scheduler, spec('a', 40, 60));
    const first = planOf(scheduler);
    const [stage] = first.stages;
    assert.deepEqual([stage.cachedTokens[0], stage.blockStart[1]], [0, 2]);
    scheduler.complete(first, sampledAll(first, 0));
    const second = planOf(scheduler);
    const [next] = second.stages;
    assert.deepEqual([next.cachedTokens[0], next.blockStart[1]], [32, 3]);
    assert.deepEqual(next.blocks.subarray(0, 3), sequence.blocks.subarray(0, 3));
  });

  it('refuses limits under which a decode might not fit a step', () => {
    for (const wrong of [{ stepTokensMax: 3 }, { stepRowsMax: 3 }, { sequencesMax: 0 }]) {
      assert.throws(() => new Scheduler({ ...smallLimits, ...wrong }, () => {}), RangeError);
    }
  });
});

describe('chunks', () => {
  /** A machine of 2 ms a step and 1 ms a token. */
  function learned(itlTargetMs: number) {
    const kit = makeScheduler({ itlTargetMs, stepTokensMax: 64, stepRowsMax: 64, contextTokens: 512 });
    for (let i = 0; i < 50; i++) {
      for (const tokens of [1, 10, 60])
        kit.scheduler.cost.learn({ tokens, rows: 0, prefillPositions: 0, decodePositions: 0 }, 2 + tokens);
    }
    return kit;
  }

  it('are as long as fits into the time that a running answer may wait', () => {
    const { scheduler } = learned(42);
    enter(scheduler, spec('a', 3, 9));
    const first = planOf(scheduler);
    scheduler.complete(first, sampledAll(first, 7));
    enter(scheduler, spec('b', 200, 4, { promptIds: new Int32Array(200) }));
    const plan = planOf(scheduler);
    assert.equal(plan.decodeTokens, 1);
    assert.ok(plan.prefillTokens >= 36 && plan.prefillTokens <= 39, `${plan.prefillTokens}`);
  });

  it('are never tiny, and whole when nobody waits for a token', () => {
    const { scheduler } = learned(3);
    enter(scheduler, spec('b', 200, 4, { promptIds: new Int32Array(200) }));
    const alone = planOf(scheduler);
    assert.equal(alone.prefillTokens, 64);
    scheduler.complete(alone, sampledAll(alone, 7));
    enter(scheduler, spec('a', 3, 9, { priority: -1 }));
    const both = planOf(scheduler);
    assert.deepEqual(show(both), ['a: 100..102 at 0, sample', 'b: 0..0 at 64, no row']);
    scheduler.complete(both, sampledAll(both, 7));
    const decoding = planOf(scheduler);
    assert.deepEqual([decoding.decodeTokens, decoding.prefillTokens], [1, 16]);
  });

  it('share the least that a step takes: it is not as much for each prompt', () => {
    const { scheduler } = learned(3);
    enter(scheduler, spec('a', 3, 9));
    const first = planOf(scheduler);
    scheduler.complete(first, sampledAll(first, 7));
    for (const [i, name] of ['b', 'c'].entries()) {
      enter(scheduler, spec(name, 200, 4, { promptIds: new Int32Array(200).fill(i) }));
    }
    assert.deepEqual(show(planOf(scheduler)), ['a: 7 at 3, sample', 'b: 0..0 at 0, no row']);
  });
});
