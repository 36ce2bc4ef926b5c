import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { assertInvariants } from '../../src/scheduler/invariants.js';
import { Scheduler } from '../../src/scheduler/scheduler.js';
import type { Sequence } from '../../src/scheduler/sequence.js';
import type { StepPlan } from '../../src/scheduler/step-plan.js';
import type { SchedulerLimits } from '../../src/scheduler/types.js';
import { NaiveScheduler } from '../support/naive-scheduler.js';
import { admitAll, spec } from '../support/scheduler-kit.js';
import { ScriptedDrafter } from '../support/scripted-drafter.js';

/** The mutation check, which runs this for each mutant, asks for fewer. */
const runs = Number(process.env.NIBBLE_PROPERTY_RUNS ?? 10_000);

/** Two blocks. */
const windowTokens = 8;

type Shape = {
  readonly promptTokens: number;
  /** Ids are 0 up to here, then `ending`: prompts share beginnings, with each other and with what is sampled. */
  readonly turn: number;
  readonly ending: number;
  readonly maxTokens: number;
  readonly scorePrompt: boolean;
  readonly priority: number;
  readonly tenant: string;
  readonly guesses: boolean;
  /** Pruned by this policy, if it isn't negative and a window fits into steps. */
  readonly policy: number;
};
type Command =
  | { readonly kind: 'submit'; readonly shapes: readonly Shape[] }
  | { readonly kind: 'step' }
  | { readonly kind: 'return'; readonly token: number; readonly fails: boolean; readonly stops: number }
  | { readonly kind: 'abort'; readonly which: number };

const shapes = fc.record({
  promptTokens: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 45 })),
  maxTokens: fc.oneof(fc.integer({ min: 0, max: 6 }), fc.constant(Number.POSITIVE_INFINITY)),
  turn: fc.oneof(fc.nat(12), fc.constant(45)),
  ending: fc.integer({ min: 1, max: 2 }),
  scorePrompt: fc.integer({ min: 0, max: 4 }).map((value) => value === 0),
  priority: fc.constantFrom(0, 0, 0, 1),
  tenant: fc.constantFrom('x', 'y', 'z'),
  guesses: fc.boolean(),
  policy: fc.integer({ min: -1, max: 1 }),
});

const step = fc.constant<Command>({ kind: 'step' });
const returned = fc.record({
  kind: fc.constant('return' as const),
  token: fc.nat(1),
  fails: fc.integer({ min: 0, max: 19 }).map((value) => value === 0),
  /** Ends this one of the sequences in the step, as an end token would; often nobody. */
  stops: fc.nat(12),
});
const commands = fc.array<Command>(
  fc.oneof(
    fc.record({ kind: fc.constant('submit' as const), shapes: fc.array(shapes, { minLength: 1, maxLength: 3 }) }),
    step,
    step,
    returned,
    returned,
    fc.record({ kind: fc.constant('abort' as const), which: fc.nat(30) }),
  ),
  { maxLength: 50, size: 'max' },
);

const limitsOf = fc
  .record({
    sequencesMax: fc.integer({ min: 1, max: 4 }),
    tokens: fc.nat(20),
    rows: fc.nat(12),
    blockCount: fc.integer({ min: 3, max: 24 }).map((count) => Math.max(3, count - 6)),
    waitingMax: fc.nat(6),
    waitingTokensMax: fc.constantFrom(20, 60, 500),
    lookAheadTokensMax: fc.constantFrom(0, 3, 8, 64),
  })
  .map(
    ({ sequencesMax, tokens, rows, ...rest }): SchedulerLimits => ({
      contextTokens: 40,
      itlTargetMs: Number.POSITIVE_INFINITY,
      blockTokens: 4,
      sequencesMax,
      stepTokensMax: sequencesMax + tokens,
      stepRowsMax: sequencesMax + rows,
      ...rest,
    }),
  );

function describePlan(plan: StepPlan<string>): readonly string[] {
  return plan.sequences.map((sequence, i) => {
    const from = plan.seqStart[i] ?? 0;
    const to = plan.seqStart[i + 1] ?? 0;
    const rows = plan.targets.subarray(plan.rowStart[i], plan.rowStart[i + 1]).join(',');
    for (let t = from; t < to; t++) assert.equal(plan.positions[t], sequence.planned - (to - t));
    return `${sequence.owner} ${plan.tokens.subarray(from, to).join(',')} @${plan.positions[from]} rows ${rows}`;
  });
}

function namesOf(sequences: Iterable<Sequence<string>>): string {
  return Array.from(sequences, ({ owner }) => owner).join();
}

/** Drives both schedulers with the same commands and compares all that can be seen. */
class Duel {
  readonly real: Scheduler<string>;
  readonly naive: NaiveScheduler;
  readonly live = new Map<string, Sequence<string>>();
  readonly ends = new Map<string, number>();
  readonly admissions = new Map<string, number>();
  readonly releases = new Map<string, number>();
  readonly seen = new Map<string, Sequence<string>>();
  /** Steps that may still return before all that is there now must have ended. */
  private patience = 0;
  private nextName = 0;

  constructor(limits: SchedulerLimits) {
    this.real = new Scheduler<string>(limits, ({ owner }) => {
      this.releases.set(owner, (this.releases.get(owner) ?? 0) + 1);
    });
    this.naive = new NaiveScheduler(limits);
  }

  run(command: Command): void {
    if (command.kind === 'submit') this.submit(command.shapes);
    else if (command.kind === 'step') this.step();
    else if (command.kind === 'return') this.returned(command.token, command.fails, command.stops);
    else this.abort(command.which);
    this.compare();
  }

  submit(wanted: readonly Shape[]): void {
    const specs = wanted.map(({ promptTokens, turn, ending, maxTokens, guesses, policy, ...more }) => {
      const { stepTokensMax, sequencesMax } = this.real.limits;
      const isPruned = policy >= 0 && !more.scorePrompt && stepTokensMax - sequencesMax >= windowTokens;
      const windows = Math.max(0, Math.floor(promptTokens / windowTokens) - (policy % 2));
      const pruning = isPruned ? { windowTokens, windows, policy } : undefined;
      const drafter = guesses ? new ScriptedDrafter() : undefined;
      const promptIds = Int32Array.from({ length: promptTokens }, (_, i) => (i < turn ? 0 : ending));
      return spec(`s${this.nextName++}`, promptTokens, maxTokens, { promptIds, drafter, pruning, ...more });
    });
    const submission = this.real.submit(specs);
    assert.equal(submission.kind === 'accepted', this.naive.submit(specs));
    if (submission.kind !== 'accepted') return;
    for (const sequence of submission.sequences) {
      this.seen.set(sequence.owner, sequence);
      this.ends.set(sequence.owner, 0);
      if (sequence.state === 'released') this.ends.set(sequence.owner, 1);
      else this.live.set(sequence.owner, sequence);
    }
    this.patience = this.bound();
    this.admit();
  }

  /**
   * Each step but two per sequence moves the first in rank on by a token. Whoever is first stays so until one of lower
   * rank number comes back from a preemption, so this many end all that is there now.
   */
  bound(): number {
    let steps = 2;
    for (const name of this.live.keys()) steps += this.naive.work(name) + 2;
    return steps * (1 + this.live.size);
  }

  admit(): void {
    for (const name of admitAll(this.real)) this.admissions.set(name, (this.admissions.get(name) ?? 0) + 1);
    this.naive.admit();
  }

  step(): boolean {
    this.admit();
    const plan = this.real.plan();
    assert.equal(plan === null ? undefined : describePlan(plan).join('\n'), this.naive.plan()?.join('\n'));
    return plan !== null;
  }

  returned(token: number, fails: boolean, stops: number): void {
    const [plan] = this.real.plansInFlight();
    if (plan === undefined) return;
    const names = plan.sequences.map(({ owner }) => owner);
    if (fails) {
      const ended = this.real.fail(plan).map(({ owner }) => owner);
      assert.deepEqual(ended, this.naive.returned(null));
      for (const name of ended) this.noteEnd(name);
    } else {
      this.real.complete(plan, new Int32Array(plan.rowCount).fill(token));
      this.naive.returned(token);
    }
    for (const [index, name] of names.entries()) {
      const sequence = this.live.get(name);
      if (sequence === undefined) continue;
      assert.equal(sequence.isComplete, this.naive.isComplete(name));
      if (sequence.isComplete || index === stops) this.end(name);
    }
    this.patience--;
    assert.ok(this.patience >= 0 || this.live.size === 0, 'somebody starves');
  }

  abort(which: number): void {
    const names = [...this.ends.keys()];
    const name = names[which % Math.max(1, names.length)];
    if (name !== undefined) this.end(name);
  }

  private end(name: string): void {
    const sequence = this.live.get(name);
    if (sequence === undefined) return;
    assert.equal(this.real.end(sequence), true);
    assert.equal(this.real.end(sequence), false);
    assert.equal(this.naive.end(name), true);
    this.noteEnd(name);
  }

  private noteEnd(name: string): void {
    this.live.delete(name);
    this.ends.set(name, (this.ends.get(name) ?? 0) + 1);
  }

  compare(): void {
    assertInvariants(this.real);
    assert.equal(namesOf(this.real.waiting), this.naive.waiting.join());
    assert.equal(namesOf(this.real.running), this.naive.holding.join());
    const { pool } = this.real.kv;
    assert.equal(pool.usedCount, this.naive.blocksUsed);
    assert.equal(pool.cachedCount, this.naive.blocksCached);
    assert.equal(this.real.preemptions, this.naive.preemptions);
    assert.equal(this.real.stepsInFlight, this.naive.stepsInFlight);
  }

  /** With no more arrivals everything must end; `patience` bounds the loop. */
  runDry(): void {
    while (!this.real.isIdle) {
      const planned = this.step();
      assert.ok(planned || this.real.stepsInFlight > 0, 'there are sequences but nothing to do');
      if (!this.real.canPlan || !planned) this.returned(3, false, -1);
      this.compare();
    }
    for (const [name, count] of this.ends) assert.equal(count, 1, `${name} ended ${count} times`);
    assert.deepEqual(this.releases, this.admissions, 'a slot is given up as often as it is taken');
    assert.equal(this.live.size, 0);
    assert.equal(this.real.kv.pool.usedCount, 0);
  }
}

it('agrees with the naive model, leaks nothing, starves nobody and ends everything once', () => {
  const seen = {
    preemptions: 0,
    cachedTokens: 0,
    cachedWindows: 0,
    preemptedWindows: 0,
    evictions: 0,
    rightGuesses: 0,
    wrongGuesses: 0,
  };
  fc.assert(
    fc.property(limitsOf, commands, (limits, list) => {
      const duel = new Duel(limits);
      for (const command of list) duel.run(command);
      duel.runDry();
      seen.preemptions += duel.real.preemptions;
      const { draftTokens, acceptedTokens } = duel.real.speculation;
      seen.rightGuesses += acceptedTokens;
      seen.wrongGuesses += draftTokens - acceptedTokens;
      for (const { cachedTokens, windowsEnd, preemptions } of duel.seen.values()) {
        seen.cachedTokens += cachedTokens;
        if (windowsEnd === 0) continue;
        seen.cachedWindows += cachedTokens / windowTokens;
        seen.preemptedWindows += preemptions;
      }
      seen.evictions += duel.naive.evictions;
    }),
    { numRuns: runs, includeErrorInReport: true },
  );
  // The commands do reach what they are meant to, some of it rarely: about 120 windows and 1,000 of the rest, with a
  // deviation of a tenth, so that chance alone fails neither bound.
  if (runs < 10_000) return;
  for (const [what, count] of Object.entries(seen)) {
    assert.ok(count > (what.endsWith('Windows') ? 25 : 400), `${what}: ${count}`);
  }
});
