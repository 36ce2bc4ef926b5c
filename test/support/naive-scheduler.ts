/**
 * The scheduler's rules once more, as plainly as possible: lists, sums over everything, no counters kept, a block known
 * by all the text up to its end. Property tests compare the real one with it, step by step.
 */
import type { SchedulerLimits, SequenceSpec } from '../../src/scheduler/types.js';
import {
  type Block,
  type Entry,
  type Flight,
  makeNaive,
  type Naive,
  rowsOf,
  shareable,
  sum,
  textOf,
  usable,
  whole,
} from './naive-sequence.js';
import { scriptedCount, scriptedGuess } from './scripted-drafter.js';

export class NaiveScheduler {
  readonly all = new Map<string, Naive>();
  preemptions = 0;
  evictions = 0;
  private line: string[] = [];
  private admitted: string[] = [];
  private flights: Flight[] = [];
  private cached: Block[] = [];
  private readonly served = new Map<string, number>();
  private level = 0;
  private clock = 0;
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
    return this.heldBlocks().size;
  }

  get blocksCached(): number {
    return this.cached.length;
  }

  /** Tokens to be computed in all: every one but the last. */
  work(name: string): number {
    const one = this.get(name);
    if (one.limit === one.prompt.length && !one.score) return 0;
    return one.limit - 1;
  }

  submit(specs: readonly SequenceSpec<string>[]): boolean {
    const arrivals = specs.map((spec) => makeNaive(spec, this.limits, this.clock++));
    for (const one of arrivals) {
      if (one.prompt.length > this.limits.contextTokens || this.span(one.limit) > this.limits.blockCount) return false;
    }
    for (const one of arrivals) this.all.set(one.name, one);
    const queued = arrivals.filter((one) => this.work(one.name) > 0).map((one) => one.name);
    let starting = 0;
    if (this.line.length === 0) while (starting < queued.length && this.fits(queued.slice(0, starting + 1))) starting++;
    const late = queued.slice(starting);
    const tokens = sum([...this.line, ...late].map((name) => this.get(name).prompt.length));
    const isFull = this.line.length + late.length > this.limits.waitingMax || tokens > this.limits.waitingTokensMax;
    if (late.length > 0 && isFull) {
      for (const one of arrivals) this.all.delete(one.name);
      return false;
    }
    for (const one of arrivals) {
      const others = [...this.all.values()].filter((other) => other.tenant === one.tenant && other !== one);
      const isBack = others.every((other) => other.state === 'gone' || arrivals.includes(other));
      if (isBack) this.served.set(one.tenant, Math.max(this.served.get(one.tenant) ?? 0, this.level));
    }
    for (const one of arrivals) if (this.work(one.name) === 0) one.state = 'gone';
    this.line = [...this.line, ...queued];
    return true;
  }

  admit(): void {
    for (;;) {
      const [first] = [...this.line].sort((a, b) => this.compareTurn(this.get(a), this.get(b)));
      if (first === undefined || !this.fits([first])) return;
      const one = this.get(first);
      this.line = this.line.filter((name) => name !== first);
      one.state = 'running';
      one.start = one.prompt.length + one.sampled.length;
      this.admitted = [...this.admitted, first].sort((a, b) => this.compareRank(this.get(a), this.get(b)));
      this.share(one);
      const served = this.served.get(one.tenant) ?? 0;
      this.level = Math.max(this.level, served);
      if (one.preemptions === 0) this.served.set(one.tenant, served + one.prompt.length - one.taken);
    }
  }

  /** The next step as readable lines, or null; the same form as `describePlan`. */
  plan(): readonly string[] | null {
    const [older, newer] = this.flights;
    if (newer !== undefined) return null;
    if (older !== undefined && sum(older.map((entry) => entry.count)) > this.limits.lookAheadTokensMax) return null;
    if (older?.some((entry) => entry.drafts > 0)) return null;
    if (older?.some(({ name, samples }) => samples && this.draftsFor(this.get(name), 1, 7) > 0)) return null;
    const step: Entry[] = [];
    let spare = Math.min(this.limits.stepTokensMax, this.limits.stepRowsMax) - this.limits.sequencesMax;
    const inWindows = this.admitted.map((name) => this.get(name)).filter((one) => one.taken < one.windowsEnd);
    spare -= Math.max(0, ...inWindows.filter((one) => one.state === 'running').map((one) => one.window));
    const inPhase = (decodes: boolean) =>
      this.admitted.map((name) => this.get(name)).filter((one) => one.taken >= one.start === decodes);
    for (const one of [...inPhase(true), ...inPhase(false)]) {
      if (one.state !== 'running') continue;
      const isDecode = one.taken >= one.start;
      if (!isDecode && this.share(one)) continue;
      let count = this.countFor(one, step, isDecode);
      if (count === 0) continue;
      const drafts = isDecode && this.pending(one.name) === 0 ? this.blocksFor(one, this.draftsFor(one, 0, spare)) : 0;
      spare -= drafts;
      count += drafts;
      step.push({ name: one.name, first: one.taken, count, samples: one.taken + count >= one.start, drafts });
      one.taken += count;
      if (!isDecode) this.announce(one);
    }
    if (step.length === 0) return null;
    const lines = step.map((entry) => this.describe(entry));
    this.flights = [...this.flights, step];
    return lines;
  }

  /** The oldest step returns; each sampling sequence gets `token`, or null: the step failed. Names what that ended. */
  returned(token: number | null): readonly string[] {
    const [flight, ...rest] = this.flights;
    if (flight === undefined) throw new Error('no step is in flight');
    this.flights = rest;
    const ended: string[] = [];
    for (const { name, count, samples, drafts } of flight) {
      const one = this.get(name);
      const known = one.prompt.length + one.sampled.length;
      let right = 0;
      while (token !== null && right < drafts && scriptedGuess(known, right) === token) right++;
      one.done += count - drafts + right;
      one.taken -= drafts - right;
      const isLive = one.state === 'running' || one.state === 'preempted';
      if (isLive && token === null) {
        this.free(one);
        one.state = 'ended';
        ended.push(name);
      } else if (isLive && samples && token !== null) {
        for (let i = 0; i <= right; i++) one.sampled.push(token);
        this.served.set(one.tenant, (this.served.get(one.tenant) ?? 0) + 4 * (1 + right));
      }
      if (one.state === 'running') this.publish(one);
    }
    this.sweep();
    return ended;
  }

  isComplete(name: string): boolean {
    const one = this.get(name);
    if (one.limit > one.prompt.length) return one.prompt.length + one.sampled.length === one.limit;
    return one.done >= this.work(name);
  }

  end(name: string): boolean {
    const one = this.get(name);
    if (one.state === 'ended' || one.state === 'gone') return false;
    this.free(one);
    one.state = one.state === 'waiting' ? 'gone' : 'ended';
    this.line = this.line.filter((other) => other !== name);
    this.sweep();
    return true;
  }

  /** How many tokens of a sequence go into the step: each must exist, be needed, and fit, and have a block. */
  private countFor(one: Naive, step: readonly Entry[], isDecode: boolean): number {
    const { stepTokensMax, stepRowsMax, blockTokens } = this.limits;
    const known = one.prompt.length + one.sampled.length + this.pending(one.name);
    let count = Math.min(known, this.work(one.name)) - one.taken;
    count = Math.min(count, stepTokensMax - sum(step.map((entry) => entry.count)));
    const rowsLeft = stepRowsMax - sum(step.map((entry) => rowsOf(this.get(entry.name), entry).length));
    if (one.score && !isDecode) count = Math.min(count, rowsLeft);
    while (count > 0 && rowsOf(one, { first: one.taken, count }).length > rowsLeft) count--;
    count = whole(one, count);
    if (count <= 0) return 0;
    while (one.blocks.length < this.span(one.taken + count) && this.takeBlock(one));
    const held = whole(one, one.blocks.length * blockTokens - one.taken);
    if (held > 0) return Math.min(count, held);
    const fewest = one.taken < one.windowsEnd ? one.window : 1;
    for (;;) {
      while (one.blocks.length < this.span(one.taken + fewest) && this.takeBlock(one));
      if (one.blocks.length >= this.span(one.taken + fewest)) return fewest;
      const victims = this.admitted.slice(this.admitted.indexOf(one.name) + 1).map((name) => this.get(name));
      const victim = victims
        .filter((other) => other.state === 'running' && other.blocks.length > 0)
        .filter((other) => other.taken < this.work(other.name) && !step.some((entry) => entry.name === other.name))
        .at(-1);
      if (victim === undefined) return 0;
      this.free(victim);
      victim.state = 'preempted';
      victim.preemptions++;
      this.preemptions++;
      this.sweep();
    }
  }

  /** Guesses that are wanted behind the next token, the first `ahead` of them not counted. */
  private draftsFor(one: Naive, ahead: number, spare: number): number {
    if (!one.guesses || one.sampled.length === 0 || one.state !== 'running') return 0;
    const known = one.prompt.length + one.sampled.length;
    return Math.max(0, Math.min(7, spare, this.work(one.name) - known - ahead, scriptedCount(known) - ahead));
  }

  /** How many of so many guesses there are blocks for, with none taken from others. */
  private blocksFor(one: Naive, drafts: number): number {
    while (one.blocks.length < this.span(one.taken + 1 + drafts) && this.takeBlock(one));
    return Math.min(drafts, one.blocks.length * this.limits.blockTokens - one.taken - 1);
  }

  private takeBlock(one: Naive): boolean {
    if (this.heldBlocks().size + this.cached.length >= this.limits.blockCount) {
      const [oldest] = [...this.cached].sort((a, b) => a.releasedAt - b.releasedAt);
      if (oldest === undefined) return false;
      this.cached = this.cached.filter((block) => block !== oldest);
      this.evictions++;
    }
    one.blocks.push({ text: null, ready: false, releasedAt: 0 });
    return true;
  }

  /** Ready blocks are taken over, one after the other; true if the next one is just being computed by somebody. */
  private share(one: Naive): boolean {
    const { blockTokens } = this.limits;
    const isOwnReady = () => one.blocks.slice(0, one.taken / blockTokens).every((block) => block.ready);
    while (one.taken % blockTokens === 0 && isOwnReady() && one.taken + one.window <= usable(one)) {
      const next = this.nextWindow(one, one.taken);
      if (next.some((block) => block === undefined)) return false;
      if (next.some((block) => block?.ready === false)) return true;
      for (const block of next) {
        if (block !== undefined) this.hold(one, one.taken / blockTokens, block);
        one.taken += blockTokens;
        one.done += blockTokens;
      }
    }
    return false;
  }

  /** The blocks that continue a sequence for a window, as far as there are any. */
  private nextWindow(one: Naive, from: number): readonly (Block | undefined)[] {
    const { blockTokens } = this.limits;
    const count = one.window / blockTokens;
    return Array.from({ length: count }, (_, i) => this.findBlock(textOf(one, from + (i + 1) * blockTokens)));
  }

  private announce(one: Naive): void {
    const end = Math.min(one.taken, one.prompt.length + one.sampled.length, shareable(one));
    for (let at = 0; (at + 1) * this.limits.blockTokens <= end; at++) {
      const block = one.blocks[at];
      const text = textOf(one, (at + 1) * this.limits.blockTokens);
      if (block === undefined) throw new Error('a planned token has no block');
      if (block.text === null && this.findBlock(text) !== undefined) return;
      block.text = text;
    }
  }

  private publish(one: Naive): void {
    const end = Math.min(one.done, shareable(one));
    for (let at = 0; (at + 1) * this.limits.blockTokens <= end; at++) {
      const block = one.blocks[at];
      const text = textOf(one, (at + 1) * this.limits.blockTokens);
      if (block === undefined) throw new Error('a computed token has no block');
      const other = this.findBlock(text);
      if (other !== undefined && other !== block) {
        if (!other.ready) return;
        this.hold(one, at, other);
        continue;
      }
      block.text = text;
      block.ready = true;
    }
  }

  private hold(one: Naive, at: number, block: Block): void {
    this.cached = this.cached.filter((other) => other !== block);
    one.blocks[at] = block;
  }

  private free(one: Naive): void {
    const blocks = one.blocks;
    one.blocks = [];
    const held = this.heldBlocks();
    for (const block of blocks.reverse()) {
      if (held.has(block) || !block.ready) continue;
      block.releasedAt = this.clock++;
      this.cached.push(block);
    }
  }

  /** Whether these sequences, none of which has blocks, could start one after the other. */
  private fits(names: readonly string[]): boolean {
    if (this.admitted.length + names.length > this.limits.sequencesMax) return false;
    const running = this.admitted.map((name) => this.get(name)).filter((one) => one.state === 'running');
    const promised = sum(running.map((one) => Math.max(0, this.span(one.start) - one.blocks.length)));
    let left = this.limits.blockCount - this.blocksUsed - promised;
    for (const [i, name] of names.entries()) {
      const one = this.get(name);
      const reserve = running.length + i;
      const needed = this.span(one.prompt.length + one.sampled.length);
      const held = this.heldBlocks();
      let shared = 0;
      let heldAlready = 0;
      for (let end = one.window; end <= usable(one); end += one.window) {
        const blocks = this.nextWindow(one, end - one.window);
        if (!blocks.every((block) => block?.ready === true)) break;
        shared += blocks.length;
        heldAlready += blocks.filter((block) => block !== undefined && held.has(block)).length;
      }
      // Shared blocks that others hold cost nothing, but that is only looked at where it decides.
      if (left - needed < reserve) left += heldAlready;
      if (left - needed < reserve) return false;
      if (shared > needed) throw new Error('more is shared than needed');
      left -= needed;
    }
    return true;
  }

  private compareTurn(a: Naive, b: Naive): number {
    const resumes = (one: Naive) => (one.preemptions > 0 ? 0 : 1);
    const served = (one: Naive) => (one.preemptions > 0 ? 0 : (this.served.get(one.tenant) ?? 0));
    return a.priority - b.priority || resumes(a) - resumes(b) || served(a) - served(b) || a.order - b.order;
  }

  private compareRank(a: Naive, b: Naive): number {
    return a.priority - b.priority || a.order - b.order;
  }

  /** Ended and preempted sequences that no step in flight contains give up their slot. */
  private sweep(): void {
    const busy = new Set(this.flights.flat().map((entry) => entry.name));
    for (const name of this.admitted) {
      const one = this.get(name);
      if (busy.has(name)) continue;
      if (one.state === 'ended') one.state = 'gone';
      if (one.state !== 'preempted') continue;
      one.scored = Math.max(one.scored, Math.min(one.done, one.prompt.length - 1));
      one.state = 'waiting';
      one.taken = 0;
      one.done = 0;
      this.line = [...this.line, name];
    }
    this.admitted = this.admitted.filter((name) => !['gone', 'waiting'].includes(this.get(name).state));
  }

  private describe({ name, first, count }: Entry): string {
    const one = this.get(name);
    const known = [...one.prompt, ...one.sampled];
    const guess = (place: number) => (place > first ? scriptedGuess(known.length, place - known.length) : -1);
    const ids = Array.from({ length: count }, (_, i) => known[first + i] ?? guess(first + i));
    return `${name} ${ids.join(',')} @${first} rows ${rowsOf(one, { first, count }).join(',')}`;
  }

  private pending(name: string): number {
    return this.flights.flat().filter((entry) => entry.name === name && entry.samples).length;
  }

  private findBlock(text: string): Block | undefined {
    for (const name of this.admitted) {
      const found = this.get(name).blocks.find((block) => block.text === text);
      if (found !== undefined) return found;
    }
    return this.cached.find((block) => block.text === text);
  }

  private heldBlocks(): Set<Block> {
    return new Set(this.admitted.flatMap((name) => this.get(name).blocks));
  }

  private span(tokens: number): number {
    return Math.ceil(tokens / this.limits.blockTokens);
  }

  private get(name: string): Naive {
    const one = this.all.get(name);
    if (one === undefined) throw new Error(`no sequence ${name}`);
    return one;
  }
}
