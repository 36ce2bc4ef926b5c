import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { BlockPool } from '../../src/scheduler/block-pool.js';

describe('block pool', () => {
  it('gives all or nothing', () => {
    const pool = new BlockPool(3);
    assert.deepEqual(pool.allocate(2), Int32Array.of(0, 1));
    assert.equal(pool.allocate(2), null);
    assert.equal(pool.freeCount, 1);
    assert.equal(pool.usedCount, 2);
    assert.deepEqual(pool.allocate(1), Int32Array.of(2));
  });

  it('keeps a shared block until its last holder returns it', () => {
    const pool = new BlockPool(1);
    const ids = pool.allocate(1) ?? assert.fail('the pool is empty');
    pool.retain(0);
    pool.release(ids);
    assert.equal(pool.freeCount, 0);
    pool.release(ids);
    assert.equal(pool.freeCount, 1);
  });

  it('throws on a block that is returned or retained while free', () => {
    const pool = new BlockPool(2);
    const ids = pool.allocate(1) ?? assert.fail('the pool is empty');
    pool.release(ids);
    assert.throws(() => pool.release(ids), /released twice/);
    assert.throws(() => pool.retain(1), /free/);
    assert.throws(() => pool.retain(9), /free/);
  });

  it('counts like a map of holders, whatever the order', () => {
    const command = fc.record({ kind: fc.constantFrom('allocate', 'retain', 'release'), at: fc.nat(40) });
    fc.assert(
      fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
        const pool = new BlockPool(12);
        const held: Int32Array[] = [];
        for (const { kind, at } of commands) {
          const holder = held.length > 0 ? held[at % held.length] : undefined;
          if (kind === 'allocate') {
            const ids = pool.allocate(at % 5);
            if (ids !== null) held.push(ids);
          } else if (holder !== undefined && kind === 'retain') {
            for (const id of holder) pool.retain(id);
            held.push(holder.slice());
          } else if (holder !== undefined) {
            pool.release(holder);
            held.splice(held.indexOf(holder), 1);
          }
          const counts = new Array<number>(12).fill(0);
          for (const id of held.flatMap((ids) => [...ids])) counts[id] = (counts[id] ?? 0) + 1;
          assert.deepEqual(
            counts,
            counts.map((_, id) => pool.referenceCount(id)),
          );
          assert.equal(pool.freeCount, counts.filter((count) => count === 0).length);
          pool.assertConsistent();
        }
      }),
      { numRuns: 300 },
    );
  });
});
