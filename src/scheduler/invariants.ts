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
  let waitingTokens = 0;
  for (const sequence of waiting) {
    waitingTokens += sequence.promptTokens;
    check(sequence.state === 'waiting', `sequence ${sequence.id} waits as ${sequence.state}`);
    check(sequence.blockCount === 0 && sequence.inFlight === 0, `sequence ${sequence.id} waits and holds something`);
  }
  check(waiting.tokens === waitingTokens, 'the waiting line miscounts its tokens');
  const plans = scheduler.plansInFlight();
  check(plans.length <= 2, 'more than two steps in flight');
  for (const plan of plans) assertPlan(plan, scheduler);
  for (let i = 0; i < running.length; i++) {
    const sequence = running[i] as Sequence<T>;
    const next = running[i + 1];
    check(next === undefined || comesBefore(sequence, next), `sequence ${sequence.id} is out of rank`);
    assertSequence(sequence, plans, limits.blockTokens);
  }
  assertBlocks(scheduler);
}

function comesBefore<T>(a: Sequence<T>, b: Sequence<T>): boolean {
  return a.priority < b.priority || (a.priority === b.priority && a.id < b.id);
}

function assertSequence<T>(sequence: Sequence<T>, plans: readonly StepPlan<T>[], blockTokens: number): void {
  const name = `sequence ${sequence.id}`;
  const { state, planned, computed, known, pending, drafted, blockCount } = sequence;
  check(state === 'running' || state === 'preempted' || state === 'ended', `${name} holds a slot as ${state}`);
  let inFlight = 0;
  let sampling = 0;
  for (const plan of plans) {
    const index = plan.sequences.indexOf(sequence);
    if (index < 0) continue;
    inFlight++;
    if ((plan.sampleRow[index] as number) >= 0) sampling++;
  }
  check(sequence.inFlight === inFlight, `${name} counts ${sequence.inFlight} steps in flight, there are ${inFlight}`);
  check(pending === sampling, `${name} counts ${pending} pending tokens, there are ${sampling}`);
  const repeated = sequence.isRepeating ? known - sequence.repeatFrom : 0;
  check(computed <= planned + repeated, `${name} computed more than planned`);
  check(planned <= sequence.computeLimit, `${name} was planned beyond its limit`);
  check(known <= sequence.tokenLimit, `${name} has more tokens than its limit`);
  check(sequence.cachedTokens < sequence.promptTokens, `${name} found all of its prompt in the cache`);
  check(sequence.readyBlocks <= sequence.indexedBlocks, `${name} has more blocks ready than entered`);
  check(sequence.indexedBlocks <= blockCount, `${name} has entered blocks that it doesn't hold`);
  check(sequence.readyBlocks * blockTokens <= computed, `${name} shares a block that isn't computed`);
  if (state !== 'running') {
    check(inFlight > 0, `${name} is ${state} and no step holds it, yet it holds a slot`);
    check(blockCount === 0, `${name} is ${state} and holds blocks`);
    return;
  }
  check(planned <= blockCount * blockTokens, `${name} is planned beyond its blocks`);
  check(blockCount <= Math.ceil(sequence.tokenLimit / blockTokens), `${name} holds ${blockCount} blocks`);
  const { windowsEnd, windowTokens } = sequence;
  check(planned >= windowsEnd || planned % windowTokens === 0, `${name} was planned into a window`);
  check(planned <= known + (drafted > 0 ? drafted : pending), `${name} was planned beyond its tokens`);
  check(known + pending + drafted <= sequence.tokenLimit, `${name} samples beyond its limit`);
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
    check(running.includes(plan.sequences[i] as Sequence<T>), `a step in flight holds slot ${slot}, given up already`);
  }
}

function assertBlocks<T>({ kv, running, limits }: Scheduler<T>): void {
  const { pool, index } = kv;
  const { blockTokens } = limits;
  const holders = new Int32Array(pool.blockCount);
  for (const sequence of running) {
    const { blocks, blockCount, indexedBlocks, readyBlocks, tokens } = sequence;
    for (let at = 0; at < blockCount; at++) {
      const id = blocks[at] as number;
      check(id >= 0 && id < pool.blockCount, `block ${id} does not exist`);
      holders[id] = (holders[id] as number) + 1;
      check(index.has(id) === at < indexedBlocks, `block ${id} is in the index, or isn't, against its table`);
      if (at >= indexedBlocks) continue;
      const parent = at === 0 ? sequence.root : (blocks[at - 1] as number);
      check(
        kv.findFor(sequence.scope, parent, tokens, at * blockTokens) === id,
        `block ${id} isn't found under its tokens`,
      );
      check(index.isReady(id) === at < readyBlocks, `block ${id} is ready, or isn't, against its table`);
    }
  }
  for (let id = 0; id < pool.blockCount; id++) {
    if (kv.pinned.has(id)) {
      holders[id] = (holders[id] as number) + 1;
      check(index.isReady(id), `block ${id} is pinned, yet holds nothing`);
    }
    check(pool.referenceCount(id) === holders[id], `block ${id} has ${holders[id]} holders`);
    if (index.has(id) && holders[id] === 0) check(index.isReady(id), `block ${id} is pending and nobody's`);
  }
  for (const id of pool.cachedIds()) check(index.isReady(id), `block ${id} is cached, yet not in the index`);
  pool.assertConsistent();
}
