import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../src/random.js';
import { StepCost, type StepShape } from '../../src/scheduler/step-cost.js';

/** A machine that is exactly as the model assumes, but for noise. */
function timeMs({ tokens, rows, prefillPositions, decodePositions }: StepShape, noise = 0): number {
  return (3 + 0.5 * tokens + 0.25 * rows + 0.0004 * prefillPositions + 0.002 * decodePositions) * (1 + noise);
}

const shape = (tokens: number, rows: number, prefillPositions: number, decodePositions: number): StepShape => ({
  tokens,
  rows,
  prefillPositions,
  decodePositions,
});

const shapes: readonly StepShape[] = [
  shape(1, 1, 0, 100),
  shape(8, 8, 0, 4000),
  shape(300, 1, 45_000, 0),
  shape(512, 0, 400_000, 0),
  shape(40, 33, 60, 60_000),
  shape(9, 9, 0, 400),
];

describe('the cost of steps', () => {
  it('is learned from a machine that follows the model', () => {
    const cost = new StepCost();
    for (let i = 0; i < 200; i++) for (const one of shapes) cost.learn(one, timeMs(one));
    for (const one of [...shapes, shape(100, 3, 9000, 200)]) {
      assert.ok(Math.abs(cost.predictMs(one) / timeMs(one) - 1) < 0.01, `${one.tokens}: ${cost.predictMs(one)}`);
    }
  });

  it('is learned through noise of 10 %', () => {
    const random = new Random(3);
    const cost = new StepCost();
    for (let i = 0; i < 100; i++) {
      for (const one of shapes) cost.learn(one, timeMs(one, (random.uniform() - 0.5) / 5));
    }
    for (const one of shapes) {
      assert.ok(Math.abs(cost.predictMs(one) / timeMs(one) - 1) < 0.05, `${one.tokens}: ${cost.predictMs(one)}`);
    }
  });

  it('expects the mean of steps of which every second takes twice as long, not the shorter ones', () => {
    const cost = new StepCost();
    for (let i = 0; i < 200; i++) for (const one of shapes) cost.learn(one, timeMs(one, i % 2));
    for (const one of shapes) {
      assert.ok(Math.abs(cost.predictMs(one) / timeMs(one) - 1.5) < 0.08, `${one.tokens}: ${cost.predictMs(one)}`);
    }
  });

  it('predicts decoding, most of the steps, where prompts suggest that rows take less than no time', () => {
    const cost = new StepCost();
    const steps: readonly (readonly [StepShape, number])[] = [
      ...Array.from({ length: 18 }, () => [shape(8, 8, 0, 0), 5] as const),
      [shape(100, 1, 0, 0), 25],
      [shape(300, 1, 0, 0), 60],
    ];
    for (let i = 0; i < 50; i++) for (const [one, ms] of steps) cost.learn(one, ms);
    for (const [one, ms] of steps) {
      const limit = one.rows === 8 ? 0.1 : 0.25;
      assert.ok(Math.abs(cost.predictMs(one) / ms - 1) < limit, `${one.tokens}: ${cost.predictMs(one)}`);
    }
  });

  it('keeps what it knows of prompts through a long time of decoding', () => {
    const cost = new StepCost();
    for (let i = 0; i < 50; i++) for (const one of shapes) cost.learn(one, timeMs(one));
    const decode = shape(4, 4, 0, 2000);
    for (let i = 0; i < 5000; i++) cost.learn(decode, timeMs(decode, i % 2 === 0 ? 0.02 : -0.02));
    const prompt = shape(256, 4, 40_000, 0);
    assert.ok(Math.abs(cost.predictMs(prompt) / timeMs(prompt) - 1) < 0.15, `${cost.predictMs(prompt)}`);
  });

  it('follows a machine that becomes twice as slow', () => {
    const cost = new StepCost();
    for (let i = 0; i < 100; i++) for (const one of shapes) cost.learn(one, timeMs(one));
    for (let i = 0; i < 100; i++) for (const one of shapes) cost.learn(one, 2 * timeMs(one));
    for (const one of shapes) assert.ok(Math.abs(cost.predictMs(one) / timeMs(one) - 2) < 0.1);
  });

  it('says how long a chunk may be: the next token would be too much', () => {
    const cost = new StepCost();
    for (let i = 0; i < 200; i++) for (const one of shapes) cost.learn(one, timeMs(one));
    for (const first of [0, 1000, 6000]) {
      const decodes = shape(5, 5, 0, 3000);
      const count = cost.tokensWithin(60, decodes, first);
      const withChunk = (n: number) => shape(5 + n, 5, n * first + (n * n) / 2, 3000);
      assert.ok(cost.predictMs(withChunk(count)) <= 60 && cost.predictMs(withChunk(count + 1)) > 60, `${count}`);
    }
    assert.equal(cost.tokensWithin(4, shape(5, 5, 0, 3000), 0), 0);
  });
});
