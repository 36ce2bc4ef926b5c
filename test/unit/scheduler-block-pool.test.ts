import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BlockPool } from '../../src/scheduler/block-pool.js';

function makePool(blockCount: number): { readonly pool: BlockPool; readonly evicted: number[] } {
  const evicted: number[] = [];
  return { pool: new BlockPool(blockCount, (id) => evicted.push(id)), evicted };
}

describe('block pool', () => {
  it('hands out low ids first, and −1 when there is none', () => {
    const { pool } = makePool(2);
    assert.deepEqual([pool.take(), pool.take(), pool.take()], [0, 1, -1]);
    assert.deepEqual([pool.availableCount, pool.usedCount], [0, 2]);
  });

  it('keeps a shared block until its last holder returns it', () => {
    const { pool } = makePool(1);
    const id = pool.take();
    pool.retain(id);
    pool.release(id);
    assert.equal(pool.availableCount, 0);
    pool.release(id);
    assert.equal(pool.availableCount, 1);
  });

  it('throws on a block that is returned, retained or kept while free', () => {
    const { pool } = makePool(2);
    const id = pool.take();
    pool.release(id);
    assert.throws(() => pool.release(id), /released twice/);
    assert.throws(() => pool.retain(1), /free/);
    assert.throws(() => pool.retain(9), /free/);
    assert.throws(() => pool.keep(0), /not in use/);
  });

  it('evicts what was released longest ago, and only when nothing is free', () => {
    const { pool, evicted } = makePool(4);
    const [a, b, c] = [pool.take(), pool.take(), pool.take()];
    for (const id of [a, b, c]) pool.keep(id);
    for (const id of [b, a, c]) pool.release(id);
    assert.deepEqual([pool.availableCount, pool.cachedCount], [4, 3]);
    assert.equal(pool.take(), 3);
    pool.retain(b);
    pool.release(b);
    assert.deepEqual([pool.take(), pool.take(), pool.take()], [a, c, b]);
    assert.deepEqual(evicted, [a, c, b]);
  });

  it('counts like a map of holders, whatever the order', () => {
    const command = fc.record({
      kind: fc.constantFrom('take', 'take', 'retain', 'release', 'release', 'keep'),
      at: fc.nat(40),
    });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const { pool, evicted } = makePool(6);
        const held: number[] = [];
        const kept = new Set<number>();
        /** Kept blocks that nobody holds, the oldest release first. */
        let cached: number[] = [];
        for (const { kind, at } of commands) {
          const id = held[at % Math.max(1, held.length)];
          if (kind === 'take') {
            const free = [0, 1, 2, 3, 4, 5].filter((one) => !held.includes(one) && !cached.includes(one));
            const got = pool.take();
            if (free.length > 0) assert.ok(free.includes(got));
            else assert.equal(got, cached[0] ?? -1);
            if (free.length === 0 && got >= 0) {
              assert.equal(evicted.at(-1), got);
              cached = cached.slice(1);
            }
            if (got >= 0) held.push(got);
            kept.delete(got);
          } else if (kind === 'retain' && cached.length > 0) {
            const [back = -1] = cached.splice(at % cached.length, 1);
            pool.retain(back);
            held.push(back);
          } else if (id !== undefined && kind === 'retain') {
            pool.retain(id);
            held.push(id);
          } else if (id !== undefined && kind === 'keep') {
            pool.keep(id);
            kept.add(id);
          } else if (id !== undefined && kind === 'release') {
            pool.release(id);
            held.splice(held.indexOf(id), 1);
            if (!held.includes(id) && kept.has(id)) cached.push(id);
          }
          for (let one = 0; one < 6; one++) {
            assert.equal(pool.referenceCount(one), held.filter((other) => other === one).length);
          }
          assert.deepEqual(pool.cachedIds(), cached);
          assert.equal(pool.usedCount, new Set(held).size);
          pool.assertConsistent();
        }
      }),
      { numRuns: 1000 },
    );
  });
});
