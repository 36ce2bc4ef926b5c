import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Drafter } from '../../src/scheduler/drafter.js';
import { StepCost } from '../../src/scheduler/step-cost.js';
import { enter, makeScheduler, sampledAll, show, spec } from '../support/scheduler-kit.js';

/** Guesses token 7 for ever, each with the same chance. */
const sure = (chance: number): Drafter => ({
  update: () => {},
  token: () => 7,
  likelihood: (i) => chance ** (i + 1),
});

it('a step samples behind guesses; those that are wrong count as never planned', () => {
  const { scheduler } = makeScheduler();
  const one = enter(scheduler, spec('a', 3, 20, { drafter: sure(0.99) }));
  const prompt = scheduler.plan();
  assert.deepEqual(show(prompt), ['a: 100..102 at 0, sample']);
  assert.equal(scheduler.plan(), null, 'what comes first must be known');
  scheduler.complete(prompt as never, Int32Array.of(5));
  const step = scheduler.plan();
  assert.deepEqual([...(step?.tokens.subarray(0, 8) ?? [])], [5, 7, 7, 7, 7, 7, 7, 7]);
  assert.deepEqual([...(step?.rows.subarray(0, 8) ?? [])], [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(one.planned, 11);
  assert.deepEqual([prompt?.hasWaited, step?.hasWaited], [false, true]);
  assert.equal(scheduler.plan(), null, 'nor is anything planned behind guesses');
  // Right, right, wrong: three tokens count, and the last of them is the next input.
  scheduler.complete(step as never, Int32Array.of(7, 7, 4, 7, 7, 7, 7, 7));
  assert.deepEqual([...one.tokens.subarray(3, one.known)], [5, 7, 7, 4]);
  assert.deepEqual([one.computed, one.planned, one.known, one.drafted, one.pending], [6, 6, 7, 0, 0]);
  assert.deepEqual(scheduler.speculation, { drafts: 1, draftTokens: 7, acceptedTokens: 2 });
  assert.equal(scheduler.plan()?.tokens[0], 4);
});

it('never samples beyond max_tokens', () => {
  const { scheduler } = makeScheduler();
  const one = enter(scheduler, spec('a', 3, 4, { drafter: sure(0.99) }));
  scheduler.complete(scheduler.plan() as never, Int32Array.of(7));
  const step = scheduler.plan();
  assert.equal(step?.tokenCount, 3, 'of four tokens one is there and the last is no input');
  scheduler.complete(step as never, Int32Array.of(7, 7, 7));
  assert.ok(one.isComplete);
  assert.equal(one.known, 7);
});

it('guesses as long as the chance is worth the cost: by the hand, two, one, none', () => {
  // A step takes 4 ms and 1 ms for each token: alone, a token is worth 5 ms and costs 1; of four, 2 ms and 1.
  const cost = new StepCost([4, 1, 0, 0, 0]);
  for (const [sequences, chance, expected] of [
    [1, 0.5, 2], // 0.5 · 5 and 0.25 · 5 are more than 1, 0.125 · 5 isn't
    [1, 0.25, 1],
    [1, 0.19, 0],
    [4, 0.75, 2], // 0.5625 · 2 is more than 1, 0.42 · 2 isn't
    [4, 0.49, 0],
  ] as const) {
    const { scheduler } = makeScheduler({ stepTokensMax: 64, stepRowsMax: 64 });
    scheduler.cost.parameters.set(cost.parameters);
    for (let i = 0; i < sequences; i++) enter(scheduler, spec(`s${i}`, 1, 50, { drafter: sure(chance) }));
    const prompts = scheduler.plan();
    scheduler.complete(prompts as never, sampledAll(prompts as never, 1));
    const behind = scheduler.plan();
    assert.equal(behind?.tokenCount, sequences * (1 + expected), `${sequences} with chance ${chance}`);
  }
});

it('guesses must be worth the turn for which the next step has to wait', () => {
  // Alone, a token is worth 5 ms and costs 1. Of three guesses at a chance of 0.6: 2 + 0.8 + 0.08 ms are gained.
  for (const [turnMs, guesses] of [
    [2.87, 3],
    [2.89, 0],
  ] as const) {
    const { scheduler } = makeScheduler();
    scheduler.cost.parameters.set([4, 1, 0, 0, 0]);
    scheduler.cost.turnMs = turnMs;
    enter(scheduler, spec('a', 3, 20, { drafter: sure(0.6) }));
    scheduler.complete(scheduler.plan() as never, Int32Array.of(5));
    const step = scheduler.plan();
    assert.equal(step?.tokenCount, 1 + guesses);
    assert.equal(scheduler.plan() === null, guesses > 0, 'with nothing guessed the next step is planned ahead');
  }
});

it('learns what a turn costs from steps that had to wait', () => {
  const cost = new StepCost();
  for (let i = 0; i < 100; i++) cost.learnTurn(0.5);
  assert.ok(Math.abs(cost.turnMs - 0.5) < 0.01);
  cost.learnTurn(1e6);
  assert.ok(cost.turnMs < 1, 'one pause of the machine says little');
  const shape = { tokens: 1, rows: 1, prefillPositions: 0, decodePositions: 100 };
  for (let i = 0; i < 2000; i++) cost.learn(shape, 2);
  assert.ok(cost.turnMs < 0.05, 'what was too long is tried again some day');
  for (let i = 0; i < 100; i++) cost.learnTurn(-3);
  assert.ok(cost.turnMs >= 0 && cost.turnMs < 0.001);
});

it('guesses leave room for every decode and for a prompt', () => {
  const { scheduler } = makeScheduler({ stepTokensMax: 8, stepRowsMax: 8, sequencesMax: 4 });
  for (const name of ['a', 'b', 'c']) enter(scheduler, spec(name, 1, 50, { drafter: sure(0.99) }));
  const first = scheduler.plan();
  scheduler.complete(first as never, sampledAll(first as never, 7));
  enter(scheduler, spec('d', 30, 5));
  const step = scheduler.plan();
  const counts = step?.sequences.map((_, i) => (step.seqStart[i + 1] ?? 0) - (step.seqStart[i] ?? 0));
  assert.deepEqual(counts, [5, 1, 1, 1], 'eight tokens: four for the sequences, four to guess, by rank');
});
