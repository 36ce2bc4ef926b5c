/**
 * The scheduler's rules once more, as plainly as possible: lists, sums over everything, no counters kept. Property
 * tests compare the real one with it, step by step.
 */
import type { SchedulerLimits, SequenceSpec } from '../../src/scheduler/types.js';

type Entry = { readonly name: string; readonly first: number; readonly count: number; readonly samples: boolean };
type Flight = readonly Entry[];

type Naive = {
  readonly name: string;
  readonly prompt: readonly number[];
  readonly limit: number;
  readonly score: boolean;
  readonly sampled: number[];
  state: 'waiting' | 'running' | 'ended' | 'gone';
  taken: number;
};

export class NaiveScheduler {
  readonly all = new Map<string, Naive>();
  private line: string[] = [];
  private admitted: string[] = [];
  private flights: Flight[] = [];
  private readonly limits: SchedulerLimits;

  constructor(limits: SchedulerLimits) {
    this.limits = limits;
  }

  get waiting(): readonly string[] {
    return this.line;
  }

  get holding(): readonly string[] {
    return this.admitted;
  }

  get stepsInFlight(): number {
    return this.flights.length;
  }

  get blocksUsed(): number {
    return this.admitted.reduce((sum, name) => sum + this.blocks(this.get(name)), 0);
  }

  /** Tokens to be computed in all: every one but the last. */
  work(name: string): number {
    const one = this.get(name);
    if (one.limit === one.prompt.length && !one.score) return 0;
    return one.limit - 1;
  }

  submit(specs: readonly SequenceSpec<string>[]): boolean {
    const arrivals = specs.map((spec): Naive => {
      const prompt = [...spec.promptIds];
      const limit = prompt.length + Math.min(spec.maxTokens, this.limits.contextTokens - prompt.length);
      return { name: spec.owner, prompt, limit, score: spec.scorePrompt, sampled: [], state: 'waiting', taken: 0 };
    });
    for (const one of arrivals) {
      if (one.prompt.length > this.limits.contextTokens || this.blocks(one) > this.limits.blockCount) return false;
    }
    for (const one of arrivals) this.all.set(one.name, one);
    const queued = arrivals.filter((one) => this.work(one.name) > 0).map((one) => one.name);
    const before = { line: this.line, admitted: this.admitted };
    this.line = [...this.line, ...queued];
    this.admit();
    const fits = this.line.length <= this.limits.waitingMax;
    // The question is answered by trying; admission itself is a command of its own.
    this.line = before.line;
    this.admitted = before.admitted;
    for (const name of queued) this.get(name).state = 'waiting';
    if (!fits) {
      for (const one of arrivals) this.all.delete(one.name);
      return false;
    }
    for (const one of arrivals) if (this.work(one.name) === 0) one.state = 'gone';
    this.line = [...this.line, ...queued];
    return true;
  }

  admit(): void {
    for (;;) {
      const head = this.line[0];
      if (head === undefined || this.admitted.length >= this.limits.sequencesMax) return;
      if (this.blocksUsed + this.blocks(this.get(head)) > this.limits.blockCount) return;
      this.line = this.line.slice(1);
      this.admitted = [...this.admitted, head];
      this.get(head).state = 'running';
    }
  }

  /** The next step as readable lines, or null; the same form as `describePlan`. */
  plan(): readonly string[] | null {
    const [older, newer] = this.flights;
    if (newer !== undefined) return null;
    if (older !== undefined && sum(older.map((entry) => entry.count)) > this.limits.lookAheadTokensMax) return null;
    const step: Entry[] = [];
    const running = this.admitted.map((name) => this.get(name)).filter((one) => one.state === 'running');
    const decodes = running.filter((one) => one.taken >= one.prompt.length);
    const prefills = running.filter((one) => one.taken < one.prompt.length);
    let rowsLeft = this.limits.stepRowsMax;
    let tokensLeft = this.limits.stepTokensMax;
    for (const one of [...decodes, ...prefills]) {
      const available = one.prompt.length + one.sampled.length + this.pending(one.name);
      let count = 0;
      // Token by token: each must exist, be needed, and fit; a prompt's row must fit too.
      while (count < tokensLeft && one.taken + count < Math.min(available, this.work(one.name))) {
        if (this.rowsOf(one, one.taken, count + 1).length > rowsLeft) break;
        count++;
      }
      if (count === 0) continue;
      tokensLeft -= count;
      rowsLeft -= this.rowsOf(one, one.taken, count).length;
      step.push({ name: one.name, first: one.taken, count, samples: one.taken + count >= one.prompt.length });
    }
    if (step.length === 0) return null;
    const lines = step.map((entry) => this.describe(entry));
    for (const entry of step) this.get(entry.name).taken += entry.count;
    this.flights = [...this.flights, step];
    return lines;
  }

  /** The oldest step returns; each sampling sequence gets `token`, or null: the step failed. Names what that ended. */
  returned(token: number | null): readonly string[] {
    const [flight, ...rest] = this.flights;
    if (flight === undefined) throw new Error('no step is in flight');
    this.flights = rest;
    const ended: string[] = [];
    for (const { name, samples } of flight) {
      const one = this.get(name);
      if (one.state === 'running' && token === null) {
        one.state = 'ended';
        ended.push(name);
      }
      if (one.state === 'running' && samples && token !== null) one.sampled.push(token);
    }
    this.sweep();
    return ended;
  }

  isComplete(name: string): boolean {
    const one = this.get(name);
    const inFlight = this.flights.flat().some((entry) => entry.name === name);
    return !inFlight && one.taken >= this.work(name) && one.prompt.length + one.sampled.length === one.limit;
  }

  end(name: string): boolean {
    const one = this.get(name);
    if (one.state === 'ended' || one.state === 'gone') return false;
    one.state = one.state === 'waiting' ? 'gone' : 'ended';
    this.line = this.line.filter((other) => other !== name);
    this.sweep();
    return true;
  }

  /** Ended sequences that no step in flight contains go. */
  private sweep(): void {
    const busy = new Set(this.flights.flat().map((entry) => entry.name));
    for (const name of this.admitted) {
      const one = this.get(name);
      if (one.state === 'ended' && !busy.has(name)) one.state = 'gone';
    }
    this.admitted = this.admitted.filter((name) => this.get(name).state !== 'gone');
  }

  private describe({ name, first, count }: Entry): string {
    const one = this.get(name);
    const known = [...one.prompt, ...one.sampled];
    const ids = Array.from({ length: count }, (_, i) => known[first + i] ?? -1);
    return `${name} ${ids.join(',')} @${first} rows ${this.rowsOf(one, first, count).join(',')}`;
  }

  /** Targets of the rows wanted from tokens [first, first + count). */
  private rowsOf(one: Naive, first: number, count: number): number[] {
    const rows: number[] = [];
    for (let p = first; p < first + count; p++) {
      if (p < one.prompt.length - 1 && one.score) rows.push(one.prompt[p + 1] ?? Number.NaN);
      if (p >= one.prompt.length - 1) rows.push(-1);
    }
    return rows;
  }

  private pending(name: string): number {
    return this.flights.flat().filter((entry) => entry.name === name && entry.samples).length;
  }

  private blocks(one: Naive): number {
    return Math.ceil(one.limit / this.limits.blockTokens);
  }

  private get(name: string): Naive {
    const one = this.all.get(name);
    if (one === undefined) throw new Error(`no sequence ${name}`);
    return one;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
