import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PrefixIndex } from '../../src/scheduler/prefix-index.js';
import type { Scheduler } from '../../src/scheduler/scheduler.js';
import { enter, makeScheduler, sampledAll, show, spec } from '../support/scheduler-kit.js';

/** Runs until nothing is left to do; the prompt tokens of each step. */
function runAll(scheduler: Scheduler<string>, token = 7): number[] {
  const prefills: number[] = [];
  for (let plan = scheduler.plan(); plan !== null; plan = scheduler.plan()) {
    prefills.push(plan.prefillTokens);
    scheduler.complete(plan, sampledAll(plan, token));
    for (const sequence of [...scheduler.running]) if (sequence.isComplete) scheduler.end(sequence);
  }
  return prefills.filter((tokens) => tokens > 0);
}

const ids = (count: number, first: number) => Int32Array.from({ length: count }, (_, i) => first + i);

describe('prefix cache', () => {
  it('computes a prompt again only from its last full block on', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 50, 2));
    assert.deepEqual(runAll(scheduler), [32, 18]);
    const again = enter(scheduler, spec('b', 50, 2));
    assert.deepEqual(runAll(scheduler), [2]);
    assert.equal(again.cachedTokens, 48);
  });

  it('always leaves one token to compute: its logits are wanted', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 32, 1));
    runAll(scheduler);
    const again = enter(scheduler, spec('b', 32, 1));
    assert.deepEqual(runAll(scheduler), [16]);
    assert.equal(again.cachedTokens, 16);
  });

  it('remembers what was generated, for the next turn of a conversation', () => {
    const { scheduler } = makeScheduler();
    enter(scheduler, spec('a', 20, 30));
    runAll(scheduler);
    // 20 tokens of the prompt and 29 of the answer were inputs: three full blocks.
    const promptIds = Int32Array.of(...ids(20, 100), ...new Array<number>(30).fill(7), 1, 2, 3);
    const next = enter(scheduler, spec('b', 53, 1, { promptIds }));
    assert.deepEqual(runAll(scheduler), [5]);
    assert.equal(next.cachedTokens, 48);
  });

  it('lets sequences that arrive together compute their common beginning once', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64 });
    for (const name of ['a', 'b', 'c', 'd']) enter(scheduler, spec(name, 50, 1));
    assert.deepEqual(runAll(scheduler), [50, 3 * 2]);
  });

  it('waits for the chunk that another sequence computes, and for no longer', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64, lookAheadTokensMax: 64 });
    enter(scheduler, spec('a', 33, 4));
    const first = scheduler.plan() ?? assert.fail();
    enter(scheduler, spec('b', 33, 4));
    const second = scheduler.plan() ?? assert.fail();
    assert.deepEqual(show(second), ['a: -1 at 33, sample']);
    scheduler.complete(first, sampledAll(first, 5));
    assert.deepEqual(show(scheduler.plan()), ['a: -1 at 34, sample', 'b: 132 at 32, sample']);
  });

  it('computes itself what a sequence that has ended left unfinished', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64, lookAheadTokensMax: 64 });
    const a = enter(scheduler, spec('a', 40, 4));
    const first = scheduler.plan() ?? assert.fail();
    enter(scheduler, spec('b', 40, 4));
    scheduler.end(a);
    assert.deepEqual(show(scheduler.plan()), ['b: 100..139 at 0, sample']);
    scheduler.complete(first, sampledAll(first, 5));
  });

  it('tells prompts apart that differ before, in or after a block', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64 });
    enter(scheduler, spec('a', 48, 1));
    runAll(scheduler);
    const changed = (at: number) => ids(48, 100).map((id, i) => (i === at ? 1 : id));
    assert.deepEqual(
      [0, 15, 16, 31, 32, 47].map((at) => {
        enter(scheduler, spec(`${at}`, 48, 1, { promptIds: changed(at) }));
        return runAll(scheduler)[0];
      }),
      [48, 48, 32, 32, 16, 16],
    );
    // Only a block's place in the whole counts, not its content: this one begins with the second block of `a`.
    enter(scheduler, spec('moved', 32, 1, { promptIds: ids(32, 116) }));
    assert.deepEqual(runAll(scheduler), [32]);
  });

  it('computes every token of a prompt that is scored, and remembers it for others', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64, stepRowsMax: 64 });
    enter(scheduler, spec('a', 40, 1));
    runAll(scheduler);
    const scored = enter(scheduler, spec('b', 40, 1, { scorePrompt: true, topCount: 0 }));
    assert.deepEqual(runAll(scheduler), [40]);
    assert.equal(scored.cachedTokens, 0);
    enter(scheduler, spec('c', 40, 1));
    assert.deepEqual(runAll(scheduler), [8]);
    // What was computed twice is held once.
    assert.equal(scheduler.kv.pool.cachedCount, 2);
  });

  it('gives up the end of what was used longest ago first', () => {
    const { scheduler } = makeScheduler({ blockCount: 8, stepTokensMax: 64 });
    enter(scheduler, spec('a', 65, 1));
    runAll(scheduler);
    enter(scheduler, spec('b', 65, 1, { promptIds: ids(65, 200) }));
    runAll(scheduler);
    // Four blocks of a were kept and four were free; b needed five.
    assert.deepEqual(
      [100, 200].map((first) => cachedBlocks(scheduler, ids(200, first))),
      [3, 4],
    );
  });

  it('shares within a scope alone, but what is pinned with everybody', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64 });
    enter(scheduler, spec('ours', 50, 1));
    runAll(scheduler);
    const cached = (cacheScope: number) => {
      const sequence = enter(scheduler, spec('s', 50, 1, { cacheScope }));
      runAll(scheduler);
      return sequence.cachedTokens;
    };
    assert.deepEqual([cached(7), cached(7), cached(2 ** 48), cached(2 ** 48), cached(0)], [0, 48, 0, 48, 48]);
    // Nor does one wait for what another scope is just computing.
    const both = ids(50, 500);
    enter(scheduler, spec('a', 50, 1, { promptIds: both, cacheScope: 1 }));
    enter(scheduler, spec('b', 50, 1, { promptIds: both, cacheScope: 2 }));
    assert.deepEqual(runAll(scheduler), [64, 36]);
    scheduler.kv.pinned.pin(ids(32, 100));
    assert.deepEqual([cached(9), cached(9)], [32, 48]);
  });

  it('forgets what a failed step would have filled', () => {
    const { scheduler } = makeScheduler({ stepTokensMax: 64 });
    enter(scheduler, spec('a', 40, 4));
    scheduler.fail(scheduler.plan() ?? assert.fail());
    const b = enter(scheduler, spec('b', 40, 1));
    assert.deepEqual(runAll(scheduler), [40]);
    assert.equal(b.cachedTokens, 0);
  });
});

/** How many blocks of these tokens are in the cache. */
function cachedBlocks(scheduler: Scheduler<string>, tokens: Int32Array): number {
  const { index } = scheduler.kv;
  let count = 0;
  for (let block = index.find(-1, tokens, 0); block >= 0; block = index.find(block, tokens, 16 * count)) count++;
  return count;
}

describe('prefix index', () => {
  it('compares ids: keys of one bucket stay apart', () => {
    // One bucket only, so every key collides.
    const index = new PrefixIndex(1, 2);
    const wide = new PrefixIndex(64, 2);
    index.insert(0, -1, Int32Array.of(1, 2), 0);
    assert.equal(index.find(-1, Int32Array.of(1, 3), 0), -1);
    assert.equal(index.find(-1, Int32Array.of(9, 1, 2), 1), 0);
    for (let block = 0; block < 64; block++) wide.insert(block, -1, Int32Array.of(block % 8, block >> 3), 0);
    for (let block = 0; block < 64; block++) {
      assert.equal(wide.find(-1, Int32Array.of(block % 8, block >> 3), 0), block);
      assert.equal(wide.find(0, Int32Array.of(block % 8, block >> 3), 0), -1);
    }
    for (let block = 0; block < 64; block += 2) wide.remove(block);
    for (let block = 0; block < 64; block++) {
      assert.equal(wide.find(-1, Int32Array.of(block % 8, block >> 3), 0), block % 2 === 0 ? -1 : block);
    }
  });

  it('keeps a block as long as others continue it', () => {
    const index = new PrefixIndex(4, 2);
    const tokens = Int32Array.of(1, 2, 3, 4);
    index.insert(2, -1, tokens, 0);
    index.insert(3, 2, tokens, 2);
    assert.throws(() => index.remove(2), /continuations/);
    assert.throws(() => index.insert(3, -1, tokens, 0), /already/);
    assert.throws(() => index.insert(1, 0, tokens, 0), /parent/);
    index.remove(3);
    index.remove(2);
    assert.throws(() => index.remove(2), /not in/);
  });

  it('is pending until the step that fills the block has returned', () => {
    const index = new PrefixIndex(4, 2);
    index.insert(1, -1, Int32Array.of(1, 2), 0);
    assert.deepEqual([index.has(1), index.isReady(1)], [true, false]);
    index.makeReady(1);
    assert.equal(index.isReady(1), true);
  });
});
