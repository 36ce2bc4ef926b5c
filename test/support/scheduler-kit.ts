/** What scheduler tests share: limits, specs, and a readable form of a planned step. */
import { Scheduler } from '../../src/scheduler/scheduler.js';
import type { Sequence } from '../../src/scheduler/sequence.js';
import type { StepPlan } from '../../src/scheduler/step-plan.js';
import type { SchedulerLimits, SequenceSpec } from '../../src/scheduler/types.js';

export type Name = string;

export const smallLimits: SchedulerLimits = {
  contextTokens: 256,
  blockTokens: 16,
  blockCount: 64,
  sequencesMax: 4,
  waitingMax: 8,
  waitingTokensMax: 4096,
  stepTokensMax: 32,
  stepRowsMax: 32,
  itlTargetMs: Number.POSITIVE_INFINITY,
  lookAheadTokensMax: 32,
};

/** Prompt ids are 100, 101, 102 … */
export function spec(
  owner: Name,
  promptTokens: number,
  maxTokens: number,
  more: Partial<SequenceSpec<Name>> = {},
): SequenceSpec<Name> {
  const promptIds = Int32Array.from({ length: promptTokens }, (_, i) => 100 + i);
  return {
    owner,
    promptIds,
    maxTokens,
    scorePrompt: false,
    topCount: -1,
    priority: 0,
    tenant: '',
    deadlineMs: Number.POSITIVE_INFINITY,
    ...more,
  };
}

export function makeScheduler(limits: Partial<SchedulerLimits> = {}): {
  readonly scheduler: Scheduler<Name>;
  readonly released: Name[];
} {
  const released: Name[] = [];
  const scheduler = new Scheduler<Name>({ ...smallLimits, ...limits }, (sequence) => released.push(sequence.owner));
  return { scheduler, released };
}

/** Admits what fits and gives out slots. */
export function admitAll(scheduler: Scheduler<Name>): Name[] {
  const names: Name[] = [];
  for (let sequence = scheduler.admitNext(); sequence !== null; sequence = scheduler.admitNext()) {
    sequence.slot =
      [0, 1, 2, 3, 4, 5, 6, 7].find((slot) => !scheduler.running.some((other) => other.slot === slot)) ?? 99;
    names.push(sequence.owner);
  }
  return names;
}

/** Submits one sequence and admits what fits; throws if it is refused. */
export function enter(scheduler: Scheduler<Name>, one: SequenceSpec<Name>): Sequence<Name> {
  const submission = scheduler.submit([one]);
  const sequence = submission.kind === 'accepted' ? submission.sequences[0] : undefined;
  if (sequence === undefined) throw new Error(`refused: ${JSON.stringify(submission)}`);
  admitAll(scheduler);
  return sequence;
}

/** The step as "name: tokens at position, rows". */
export function show(plan: StepPlan<Name> | null): readonly string[] {
  if (plan === null) return [];
  return plan.sequences.map((sequence, i) => {
    const start = plan.seqStart[i] ?? 0;
    const end = plan.seqStart[i + 1] ?? 0;
    const targets = [...plan.targets.subarray(plan.rowStart[i], plan.rowStart[i + 1])];
    const ids = end - start === 1 ? `${plan.tokens[start]}` : `${plan.tokens[start]}..${plan.tokens[end - 1]}`;
    const rows =
      targets.length === 0 ? 'no row' : targets.map((target) => (target === -1 ? 'sample' : target)).join(' ');
    return `${sequence.owner}: ${ids} at ${plan.positions[start]}, ${rows}`;
  });
}

/** A result in which every row holds `token`. */
export function sampledAll(plan: StepPlan<Name>, token: number): Int32Array {
  return new Int32Array(plan.rowCount).fill(token);
}
