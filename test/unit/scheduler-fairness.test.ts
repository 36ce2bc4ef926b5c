import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QueueEstimate } from '../../src/scheduler/queue-estimate.js';
import type { Scheduler } from '../../src/scheduler/scheduler.js';
import type { SequenceSpec } from '../../src/scheduler/types.js';
import { admitAll, makeScheduler, sampledAll, spec } from '../support/scheduler-kit.js';

/** Each with a prompt of its own. */
function many(tenant: string, count: number, promptTokens: number, maxTokens: number, more = {}) {
  return Array.from({ length: count }, (_, i): SequenceSpec<string> => {
    const promptIds = new Int32Array(promptTokens).fill(1000 * tenant.charCodeAt(0) + i);
    return spec(`${tenant}${i}`, promptTokens, maxTokens, { promptIds, tenant, ...more });
  });
}

/** Steps until nothing is left; the order in which sequences started. */
function run(scheduler: Scheduler<string>, steps = 10_000): string[] {
  const started: string[] = admitAll(scheduler);
  for (let i = 0; i < steps && !scheduler.isIdle; i++) {
    const plan = scheduler.plan() ?? assert.fail('there is nothing to do');
    scheduler.complete(plan, sampledAll(plan, 7));
    for (const sequence of [...scheduler.running]) if (sequence.isComplete) scheduler.end(sequence);
    started.push(...admitAll(scheduler));
  }
  return started;
}

describe('fairness', () => {
  it('lets a light tenant start in the next round after a heavy one’s fifty', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 2, waitingMax: 100, lookAheadTokensMax: 0 });
    scheduler.submit(many('a', 50, 20, 5));
    run(scheduler, 3);
    scheduler.submit(many('b', 1, 20, 5));
    const started = run(scheduler);
    assert.equal(started[0], 'b0');
  });

  it('shares by tokens, not by requests', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 1, waitingMax: 100, lookAheadTokensMax: 0, blockCount: 64 });
    scheduler.submit(many('a', 12, 160, 1));
    scheduler.submit(many('b', 40, 16, 1));
    const started = run(scheduler);
    // An a costs 160 + 4, a b 16 + 4: about eight of b's for one of a's.
    const firsts = started.slice(0, 37);
    const count = firsts.filter((name) => name.startsWith('a')).length;
    assert.ok(count >= 4 && count <= 6, firsts.join());
  });

  it('gives no credit for a pause', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 1, waitingMax: 100, lookAheadTokensMax: 0 });
    scheduler.submit(many('b', 1, 16, 1));
    run(scheduler);
    scheduler.submit(many('a', 30, 16, 1));
    run(scheduler, 20);
    scheduler.submit(many('b', 10, 16, 1));
    const started = run(scheduler, 8);
    // Not all of b's first: from here on the two take turns.
    assert.ok(started.slice(1).filter((name) => name.startsWith('a')).length >= 3, started.join());
  });

  it('goes by priority before anything else', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 1, waitingMax: 100, lookAheadTokensMax: 0 });
    scheduler.submit([...many('a', 3, 16, 1), ...many('c', 2, 16, 1, { priority: 1 })]);
    scheduler.submit(many('d', 2, 16, 1, { priority: -1 }));
    assert.deepEqual(
      run(scheduler).map((name) => name[0]),
      ['d', 'd', 'a', 'a', 'a', 'c', 'c'],
    );
  });
});

describe('deadlines', () => {
  it('concern what has never had a turn', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 1 });
    scheduler.submit([...many('a', 1, 16, 9, { deadlineMs: 100 }), ...many('b', 2, 16, 9, { deadlineMs: 200 })]);
    admitAll(scheduler);
    assert.deepEqual(scheduler.overdue(199), []);
    assert.deepEqual(
      scheduler.overdue(200).map(({ owner }) => owner),
      ['b0', 'b1'],
    );
  });
});

describe('the bound of waiting tokens', () => {
  it('refuses what would exceed it, though the line is short', () => {
    const { scheduler } = makeScheduler({ sequencesMax: 1, waitingMax: 100, waitingTokensMax: 250 });
    assert.equal(scheduler.submit(many('a', 2, 200, 1)).kind, 'accepted');
    admitAll(scheduler);
    assert.equal(scheduler.submit(many('b', 1, 51, 1)).kind, 'refused');
    assert.equal(scheduler.submit(many('b', 1, 50, 1)).kind, 'accepted');
  });
});

describe('the estimate of waiting', () => {
  it('follows the pace of the line, and knows nothing of times without one', () => {
    const queue = new QueueEstimate();
    queue.moved(1, 0, 0);
    queue.moved(1, 0, 60_000);
    assert.equal(queue.waitMs(5, 60_000), 0);
    queue.moved(0, 3, 70_000);
    for (let i = 1; i <= 20; i++) queue.moved(1, 3, 70_000 + 500 * i);
    assert.equal(queue.waitMs(4, 80_000), 2000);
    queue.moved(2, 3, 81_000);
    assert.equal(queue.waitMs(4, 81_000), 2000);
    assert.equal(queue.waitMs(0, 81_000), 0);
    assert.equal(queue.waitMs(1, 90_000), 9000, 'nothing has moved for nine seconds');
  });
});
