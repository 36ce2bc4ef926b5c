/** Prompts that are pruned by windows: steps never cut one, nobody starves, the cache has whole ones only. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertInvariants } from '../../src/scheduler/invariants.js';
import type { Scheduler } from '../../src/scheduler/scheduler.js';
import { enter, makeScheduler, sampledAll, spec } from '../support/scheduler-kit.js';
import { ScriptedDrafter } from '../support/scripted-drafter.js';

/** Four blocks. */
const windowTokens = 64;
const pruned = (promptTokens: number, policy = 1) => {
  return { pruning: { windowTokens, windows: Math.floor(promptTokens / windowTokens), policy } };
};
const limits = { stepTokensMax: 100, stepRowsMax: 100, lookAheadTokensMax: 0 };

/** Tokens of the sequence called `name` in each step until nothing is left to do. */
function stepsOf(scheduler: Scheduler<string>, name: string): number[] {
  const counts: number[] = [];
  for (let plan = scheduler.plan(); plan !== null; plan = scheduler.plan()) {
    const at = plan.sequences.findIndex(({ owner }) => owner === name);
    if (at >= 0) counts.push((plan.seqStart[at + 1] ?? 0) - (plan.seqStart[at] ?? 0));
    scheduler.complete(plan, sampledAll(plan, 7));
    assertInvariants(scheduler);
    for (const sequence of [...scheduler.running]) if (sequence.isComplete) scheduler.end(sequence);
  }
  return counts;
}

describe('steps', () => {
  it('end between windows, and behind the last one anywhere', () => {
    const { scheduler } = makeScheduler(limits);
    enter(scheduler, spec('a', 200, 2, pruned(200)));
    // The third window and the 8 tokens behind it fit into a step together.
    assert.deepEqual(stepsOf(scheduler, 'a'), [64, 64, 72, 1]);
  });

  it('hold a window however short the time between tokens is to be, once nothing else was put in', () => {
    const { scheduler } = makeScheduler({ ...limits, itlTargetMs: 0.001 });
    for (let i = 0; i < 50; i++)
      scheduler.cost.learn({ tokens: 10 + i, rows: 1, prefillPositions: 0, decodePositions: 0 }, 50);
    enter(scheduler, spec('decoding', 20, 30));
    const first = scheduler.plan() ?? assert.fail();
    scheduler.complete(first, sampledAll(first, 7));
    enter(scheduler, spec('a', 130, 1, pruned(130)));
    assert.deepEqual(stepsOf(scheduler, 'a').slice(0, 2), [64, 64]);
  });

  it('leave room for a window beside guesses', () => {
    const { scheduler } = makeScheduler({ ...limits, stepTokensMax: 68, stepRowsMax: 68 });
    for (const [i, name] of ['b', 'c', 'd'].entries()) {
      const promptIds = new Int32Array(20).fill(i);
      enter(scheduler, spec(name, 20, 100, { promptIds, drafter: new ScriptedDrafter() }));
    }
    const first = scheduler.plan() ?? assert.fail();
    scheduler.complete(first, sampledAll(first, 7));
    enter(scheduler, spec('a', 64, 1, { ...pruned(64), priority: 1 }));
    const plan = scheduler.plan() ?? assert.fail();
    assert.equal(plan.prefillTokens, 64);
    assert.equal(plan.decodeTokens, 3);
  });

  it('compute a window again if nothing could be sampled behind it', () => {
    const { scheduler } = makeScheduler(limits);
    const sequence = enter(scheduler, spec('a', 128, 2, pruned(128)));
    const first = scheduler.plan() ?? assert.fail();
    scheduler.complete(first, sampledAll(first, 7));
    const second = scheduler.plan() ?? assert.fail();
    scheduler.complete(second, sampledAll(second, 7), Uint8Array.of(2));
    assertInvariants(scheduler);
    assert.equal(sequence.known, 128);
    assert.equal(scheduler.plan(), null);
    assert.equal(scheduler.unblock(sequence), true);
    assert.deepEqual(stepsOf(scheduler, 'a'), [64, 1]);
    assert.equal(sequence.known, 130);
  });
});

describe('the cache', () => {
  it('shares windows with what is pruned alike, and blocks with nothing else', () => {
    const { scheduler } = makeScheduler(limits);
    const cached = (name: string, more: object) => {
      const sequence = enter(scheduler, spec(name, 160, 1, more));
      stepsOf(scheduler, name);
      return sequence.cachedTokens;
    };
    assert.equal(cached('a', {}), 0);
    assert.equal(cached('b', pruned(160)), 0);
    assert.equal(cached('c', pruned(160, 2)), 0);
    assert.equal(cached('d', pruned(160)), 128);
    // One that loses less of the same prompt shares what loses tokens in both.
    assert.equal(cached('e', pruned(100)), 64);
    assert.equal(cached('f', {}), 144);
  });

  it('is the ordinary one for a prompt without a whole window', () => {
    const { scheduler } = makeScheduler(limits);
    enter(scheduler, spec('a', 60, 1));
    stepsOf(scheduler, 'a');
    const sequence = enter(scheduler, spec('b', 60, 1, pruned(60)));
    stepsOf(scheduler, 'b');
    assert.equal(sequence.cachedTokens, 48);
  });

  it('gives nothing of a window whose end was evicted', () => {
    const { scheduler } = makeScheduler({ ...limits, blockCount: 12 });
    enter(scheduler, spec('a', 130, 1, pruned(130)));
    stepsOf(scheduler, 'a');
    // Nine blocks were used, eight are kept. This one needs five: it takes the last block of the second window.
    enter(scheduler, spec('other', 80, 1, { promptIds: new Int32Array(80).fill(3) }));
    stepsOf(scheduler, 'other');
    const again = enter(scheduler, spec('b', 130, 1, pruned(130)));
    assert.deepEqual(stepsOf(scheduler, 'b'), [66]);
    assert.equal(again.cachedTokens, 64);
  });
});
