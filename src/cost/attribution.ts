/**
 * Divides what a meter has measured among those for whom the machine worked. The parts add up to the whole: between
 * two readings the energy is split into idle time and steps, that of a step by the work of each sequence in it.
 */

export type Phase = 'prefill' | 'decode';

/** What was caused by somebody or something (a request, a key, all of them). Grows with every `settle`. */
export class CostAccount {
  /** Joules by phase. */
  prefillJoules = 0;
  decodeJoules = 0;
  /** Seconds of the machine, shared as the joules are. */
  machineSeconds = 0;

  get joules(): number {
    return this.prefillJoules + this.decodeJoules;
  }
}

/** A part of a step: it is entered in full in each of its accounts. `work` in any unit, ≥ 0. */
export type StepPart = { readonly accounts: readonly CostAccount[]; readonly phase: Phase; readonly work: number };

/** Seconds of steps that no `settle` has seen. */
type Pending = Record<Phase, number>;

/** Shares of windows at least so idle tell what the machine uses when it does nothing. */
const idleShare = 0.9;
/** Weight of the newest window in the mean of idle power. */
const idleWeight = 0.3;

/** Pure: time and joules are arguments. */
export class Attribution {
  /** Since the start: what was measured, and the part in which no step ran. */
  totalJoules = 0;
  idleJoules = 0;
  idleSeconds = 0;
  /** All steps together. */
  readonly steps = new CostAccount();
  private readonly pending = new Map<CostAccount, Pending>();
  private busySeconds = 0;
  private lastJoules: number;
  private lastSeconds: number;
  private idleWatts: number | null = null;

  constructor(joules: number, seconds: number) {
    this.lastJoules = joules;
    this.lastSeconds = seconds;
  }

  /** A step ran for so long. Its energy is divided at the next `settle`. */
  addStep(seconds: number, parts: readonly StepPart[]): void {
    let work = 0;
    for (const part of parts) work += part.work;
    if (!(work > 0) || !(seconds > 0)) return;
    this.busySeconds += seconds;
    const all = this.pendingOf(this.steps);
    for (const { accounts, phase, work: own } of parts) {
      const share = seconds * (own / work);
      for (const account of accounts) this.pendingOf(account)[phase] += share;
      all[phase] += share;
    }
  }

  /**
   * Divides what the meter has counted since the last time.
   * @param joules the meter's count, which never falls
   * @param seconds of a monotonic clock
   */
  settle(joules: number, seconds: number): void {
    const energy = Math.max(0, joules - this.lastJoules);
    const window = Math.max(0, seconds - this.lastSeconds);
    this.lastJoules = joules;
    this.lastSeconds = seconds;
    const busy = this.busySeconds;
    this.busySeconds = 0;
    const idle = busy > 0 ? this.idlePart(energy, Math.max(window, busy), busy) : energy;
    this.learnIdle(energy, window, busy);
    this.totalJoules += energy;
    this.idleJoules += idle;
    this.idleSeconds += Math.max(0, window - busy);
    if (busy === 0) return;
    const spent = energy - idle;
    for (const [account, { prefill, decode }] of this.pending) {
      account.prefillJoules += (prefill / busy) * spent;
      account.decodeJoules += (decode / busy) * spent;
      account.machineSeconds += prefill + decode;
    }
    this.pending.clear();
  }

  /** Joules of the idle time of a window. Until idle power is known, idle time counts like any other. */
  private idlePart(energy: number, window: number, busy: number): number {
    const idleSeconds = window - busy;
    const byTime = energy * (idleSeconds / window);
    return this.idleWatts === null ? byTime : Math.min(byTime, this.idleWatts * idleSeconds);
  }

  private learnIdle(energy: number, window: number, busy: number): void {
    if (window <= 0 || window - busy < idleShare * window) return;
    const watts = energy / window;
    // A little work may hide in the window: less is nearer to the truth.
    const known = this.idleWatts;
    this.idleWatts = known === null ? watts : Math.min(watts, known + idleWeight * (watts - known));
  }

  private pendingOf(account: CostAccount): Pending {
    const known = this.pending.get(account);
    if (known !== undefined) return known;
    const fresh = { prefill: 0, decode: 0 };
    this.pending.set(account, fresh);
    return fresh;
  }
}
