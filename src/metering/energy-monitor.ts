import { Attribution, CostAccount, type Phase } from '../cost/attribution.js';
import { horowitz45nm } from '../cost/energy-table.js';
import { type ModelWork, type SequenceWork, workOf } from '../cost/step-work.js';
import type { EnergySource, Meter } from './types.js';

/** One sequence's part of a step, and the accounts that it is entered in. */
export type StepWork = SequenceWork & { readonly accounts: readonly CostAccount[]; readonly phase: Phase };

type Step = { readonly seconds: number; readonly parts: readonly StepWork[]; readonly model: ModelWork };

/** What a reading has counted is divided evenly over its time; counters of sensors wrap within minutes to hours. */
const readMs = 1000;

/** Joules since the start, by what the machine did. */
export type EnergyTotals = Readonly<Record<Phase | 'idle', number>>;

/** Joins the meter with the steps of all models: who caused what, as measured. */
export class EnergyMonitor {
  /** What steps did for no request: a canary's comparisons. */
  readonly own = new CostAccount();
  /** How often energy was divided; what ran before the last time is in its accounts. */
  settlements = 0;
  /** Called each time that accounts have grown; `source` is the one of that growth. */
  onSettled: (() => void) | null = null;
  private readonly meter: Meter;
  private readonly now: () => number;
  private readonly attribution: Attribution;
  private readonly timer: NodeJS.Timeout;
  private readonly bySource = new Map<EnergySource, EnergyTotals>();
  private readonly ownOnly: readonly CostAccount[] = [this.own];
  /** Since the last `settle`. */
  private readonly steps: Step[] = [];
  private counted: EnergyTotals = { prefill: 0, decode: 0, idle: 0 };

  /** @param now milliseconds of a monotonic clock */
  constructor(meter: Meter, now: () => number = () => performance.now()) {
    this.meter = meter;
    this.now = now;
    this.attribution = new Attribution(meter.joules(), now() / 1000);
    this.timer = setInterval(() => this.settle(), readMs);
    this.timer.unref();
  }

  get source(): EnergySource {
    return this.meter.source;
  }

  get description(): string {
    return this.meter.description;
  }

  /** A step of a model ran for so long. It is divided with all others at the next `settle`: now is no time for it. */
  addStep(seconds: number, parts: readonly StepWork[], model: ModelWork): void {
    this.steps.push({ seconds, parts, model });
  }

  private divideSteps(): void {
    for (const { seconds, parts, model } of this.steps) {
      const work = workOf(parts, model, horowitz45nm);
      this.meter.addWork?.(work.reduce((sum, own) => sum + own, 0));
      const shares = parts.map(({ accounts, phase }, i) => ({
        accounts: accounts.length === 0 ? this.ownOnly : accounts,
        phase,
        work: work[i] ?? 0,
      }));
      this.attribution.addStep(seconds, shares);
    }
    this.steps.length = 0;
  }

  /** Reads the meter and divides what it has counted. For an answer that states its own cost, and every few seconds. */
  settle(): void {
    this.divideSteps();
    if (this.meter.hasNews === false) return;
    this.settlements += 1;
    this.attribution.settle(this.meter.joules(), this.now() / 1000);
    const { steps, idleJoules } = this.attribution;
    const before = this.counted;
    this.counted = { prefill: steps.prefillJoules, decode: steps.decodeJoules, idle: idleJoules };
    const sum = this.bySource.get(this.meter.source) ?? { prefill: 0, decode: 0, idle: 0 };
    this.bySource.set(this.meter.source, {
      prefill: sum.prefill + this.counted.prefill - before.prefill,
      decode: sum.decode + this.counted.decode - before.decode,
      idle: sum.idle + this.counted.idle - before.idle,
    });
    this.onSettled?.();
  }

  /** Time and joules up to the last settlement in which no step ran. */
  get idle(): { readonly joules: number; readonly seconds: number } {
    const { idleJoules, idleSeconds } = this.attribution;
    return { joules: idleJoules, seconds: idleSeconds };
  }

  /** Up to now. A source that was lost keeps what it had counted. */
  totals(): ReadonlyMap<EnergySource, EnergyTotals> {
    this.settle();
    return this.bySource;
  }

  close(): void {
    clearInterval(this.timer);
    this.meter.close();
  }
}
