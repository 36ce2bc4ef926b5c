import type { Scheduler } from './scheduler.js';
import type { Sequence } from './sequence.js';
import type { StepPlan } from './step-plan.js';

function check(condition: boolean, message: string): void {
  if (!condition) throw new Error(`scheduler invariant broken: ${message}`);
}

/** Throws if the scheduler's books don't balance. Costs O(sequences + blocks): for tests and debug mode. */
export function assertInvariants<T>(scheduler: Scheduler<T>): void {
  const { limits, running, waiting } = scheduler;
  check(running.length <= limits.sequencesMax, 'more sequences than slots');
  check(waiting.length <= limits.waitingMax + limits.sequencesMax, 'the waiting line is longer than its bound');
  for (const sequence of waiting)
    check(sequence.state === 'waiting', `sequence ${sequence.id} waits as ${sequence.state}`);
  const plans = scheduler.plansInFlight();
  check(plans.length <= 2, 'more than two steps in flight');
  for (const plan of plans) assertPlan(plan, scheduler);
  const seen = new Set<number>();
  for (const sequence of running) {
    check(!seen.has(sequence.id), `sequence ${sequence.id} runs twice`);
    seen.add(sequence.id);
    assertSequence(sequence, plans);
  }
  assertBlocks(scheduler);
}

function assertSequence<T>(sequence: Sequence<T>, plans: readonly StepPlan<T>[]): void {
  const name = `sequence ${sequence.id}`;
  check(sequence.state === 'running' || sequence.state === 'ended', `${name} holds a slot as ${sequence.state}`);
  let inFlight = 0;
  let pending = 0;
  for (const plan of plans) {
    const index = plan.sequences.indexOf(sequence);
    if (index < 0) continue;
    inFlight++;
    if ((plan.sampleRow[index] as number) >= 0) pending++;
  }
  check(sequence.inFlight === inFlight, `${name} counts ${sequence.inFlight} steps in flight, there are ${inFlight}`);
  check(sequence.pending === pending, `${name} counts ${sequence.pending} pending tokens, there are ${pending}`);
  check(sequence.state !== 'ended' || inFlight > 0, `${name} has ended and no step holds it, yet it holds a slot`);
  check(sequence.blocks.length === sequence.blocksNeeded, `${name} holds ${sequence.blocks.length} blocks`);
  check(sequence.computed <= sequence.planned, `${name} computed more than planned`);
  check(sequence.planned <= sequence.computeLimit, `${name} was planned beyond its limit`);
  check(sequence.known <= sequence.tokenLimit, `${name} has more tokens than its limit`);
  if (sequence.state === 'running') {
    check(sequence.planned <= sequence.known + sequence.pending, `${name} was planned beyond its tokens`);
    check(sequence.known + sequence.pending <= sequence.tokenLimit, `${name} samples beyond its limit`);
  }
}

function assertPlan<T>(plan: StepPlan<T>, scheduler: Scheduler<T>): void {
  const { limits, running } = scheduler;
  check(plan.tokenCount >= 1 && plan.tokenCount <= limits.stepTokensMax, `a step has ${plan.tokenCount} tokens`);
  check(plan.rowCount <= limits.stepRowsMax, `a step has ${plan.rowCount} rows`);
  check(plan.prefillTokens + plan.decodeTokens === plan.tokenCount, 'prefill and decode tokens do not sum up');
  const slots = new Set<number>();
  for (let i = 0; i < plan.slotCount; i++) {
    const slot = plan.slots[i] as number;
    check(slot >= 0, `sequence ${plan.sequences[i]?.id} has no slot`);
    check(!slots.has(slot), `slot ${slot} is in a step twice`);
    slots.add(slot);
    check(
      running.includes(plan.sequences[i] as Sequence<T>),
      `a step in flight holds a released sequence in slot ${slot}`,
    );
  }
}

function assertBlocks<T>(scheduler: Scheduler<T>): void {
  const { pool, running } = scheduler;
  const holders = new Int32Array(pool.blockCount);
  for (const sequence of running) {
    for (const id of sequence.blocks) {
      check(id >= 0 && id < pool.blockCount, `block ${id} does not exist`);
      holders[id] = (holders[id] as number) + 1;
    }
  }
  for (let id = 0; id < pool.blockCount; id++) {
    check(pool.referenceCount(id) === holders[id], `block ${id} has ${holders[id]} holders`);
  }
  pool.assertConsistent();
}
