import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../src/model/generated/random.js';
import { StepCost, type StepShape } from '../../src/scheduler/step-cost.js';

/** A machine that is exactly as the model assumes, but for noise. */
function timeMs({ tokens, rows, positions }: StepShape, noise = 0): number {
  return (3 + 0.5 * tokens + 0.25 * rows + 0.0004 * positions) * (1 + noise);
}

const shapes: readonly StepShape[] = [
  { tokens: 1, rows: 1, positions: 100 },
  { tokens: 8, rows: 8, positions: 4000 },
  { tokens: 300, rows: 1, positions: 45_000 },
  { tokens: 512, rows: 0, positions: 400_000 },
  { tokens: 40, rows: 33, positions: 60_000 },
];

describe('the cost of steps', () => {
  it('is learned from a machine that follows the model', () => {
    const cost = new StepCost();
    for (let i = 0; i < 200; i++) for (const shape of shapes) cost.learn(shape, timeMs(shape));
    for (const shape of [...shapes, { tokens: 100, rows: 3, positions: 9000 }]) {
      assert.ok(
        Math.abs(cost.predictMs(shape) / timeMs(shape) - 1) < 0.01,
        `${shape.tokens}: ${cost.predictMs(shape)}`,
      );
    }
  });

  it('is learned through noise of 10 %', () => {
    const random = new Random(3);
    const cost = new StepCost();
    for (let i = 0; i < 100; i++) {
      for (const shape of shapes) cost.learn(shape, timeMs(shape, (random.uniform() - 0.5) / 5));
    }
    for (const shape of shapes) {
      assert.ok(
        Math.abs(cost.predictMs(shape) / timeMs(shape) - 1) < 0.05,
        `${shape.tokens}: ${cost.predictMs(shape)}`,
      );
    }
  });

  it('keeps what it knows of prompts through a long time of decoding', () => {
    const cost = new StepCost();
    for (let i = 0; i < 50; i++) for (const shape of shapes) cost.learn(shape, timeMs(shape));
    const decode = { tokens: 4, rows: 4, positions: 2000 };
    for (let i = 0; i < 5000; i++) cost.learn(decode, timeMs(decode, i % 2 === 0 ? 0.02 : -0.02));
    const prompt = { tokens: 256, rows: 4, positions: 40_000 };
    assert.ok(Math.abs(cost.predictMs(prompt) / timeMs(prompt) - 1) < 0.15, `${cost.predictMs(prompt)}`);
  });

  it('follows a machine that becomes twice as slow', () => {
    const cost = new StepCost();
    for (let i = 0; i < 100; i++) for (const shape of shapes) cost.learn(shape, timeMs(shape));
    for (let i = 0; i < 100; i++) for (const shape of shapes) cost.learn(shape, 2 * timeMs(shape));
    for (const shape of shapes) assert.ok(Math.abs(cost.predictMs(shape) / timeMs(shape) - 2) < 0.1);
  });

  it('says how long a chunk may be: the next token would be too much', () => {
    const cost = new StepCost();
    for (let i = 0; i < 200; i++) for (const shape of shapes) cost.learn(shape, timeMs(shape));
    for (const first of [0, 1000, 6000]) {
      const decodes = { tokens: 5, rows: 5, positions: 3000 };
      const count = cost.tokensWithin(60, decodes, first);
      const withChunk = (n: number): StepShape => ({
        tokens: 5 + n,
        rows: 5,
        positions: 3000 + n * first + (n * n) / 2,
      });
      assert.ok(cost.predictMs(withChunk(count)) <= 60 && cost.predictMs(withChunk(count + 1)) > 60, `${count}`);
    }
    assert.equal(cost.tokensWithin(4, { tokens: 5, rows: 5, positions: 3000 }, 0), 0);
  });
});
