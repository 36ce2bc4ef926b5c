/** What is known of the two models of a canary: speed of the answers, and how far they agree. Pure. */
import { ROLLOUT_SAMPLES_MAX } from '../limits.js';

export type Side = 'baseline' | 'candidate';

/** One answered sequence, or one that failed. Times in seconds. */
export type Answered = {
  readonly isError: boolean;
  readonly tokens: number;
  /** From its submission; null if there was none. */
  readonly firstTokenSeconds: number | null;
  /** Mean time between two tokens; null for fewer than two. */
  readonly interTokenSeconds: number | null;
};

/** An answer of the baseline, read by both models: at each of its tokens, what each would have said. */
export type Compared = {
  readonly tokens: number;
  /** Tokens at which both think the same one likeliest. */
  readonly agreeing: number;
  /** Sums of the natural-log probabilities of the answer's tokens. */
  readonly baselineLogprob: number;
  readonly candidateLogprob: number;
};

/** What answers have used: joules, and how they are known. */
export type EnergyReport = { readonly joules: number; readonly source: string };

export type SideReport = {
  readonly sequences: number;
  readonly errors: number;
  readonly tokens: number;
  readonly firstTokenSeconds: Percentiles | null;
  readonly interTokenSeconds: Percentiles | null;
  /** With the joules for each generated token, prompts included; null where nothing measures. */
  readonly energy: (EnergyReport & { readonly joulesPerToken: number | null }) | null;
};
export type Percentiles = { readonly p50: number; readonly p95: number };

export type RolloutReport = {
  readonly baseline: SideReport;
  readonly candidate: SideReport;
  /** null until something was compared. */
  readonly quality: {
    readonly sequences: number;
    readonly tokens: number;
    /** Share of the tokens at which both think the same one likeliest. */
    readonly agreement: number;
    /** Of the baseline's answers, under each model. */
    readonly baselinePerplexity: number;
    readonly candidatePerplexity: number;
  } | null;
  /** Comparisons that were left out because one was running already, the candidate wasn't loaded, or it failed. */
  readonly notCompared: number;
};

/** The last values, in no order. */
class Window {
  readonly #values: number[] = [];
  #next = 0;

  add(value: number | null): void {
    if (value === null) return;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % ROLLOUT_SAMPLES_MAX;
  }

  /** By the nearest rank. */
  percentiles(): Percentiles | null {
    const sorted = this.#values.toSorted((a, b) => a - b);
    const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
    return sorted.length === 0 ? null : { p50: at(0.5), p95: at(0.95) };
  }
}

class SideCounts {
  readonly #first = new Window();
  readonly #inter = new Window();
  #sequences = 0;
  #errors = 0;
  #tokens = 0;

  add({ isError, tokens, firstTokenSeconds, interTokenSeconds }: Answered): void {
    this.#sequences++;
    if (isError) this.#errors++;
    this.#tokens += tokens;
    this.#first.add(firstTokenSeconds);
    this.#inter.add(interTokenSeconds);
  }

  report(energy: EnergyReport | null): SideReport {
    const joulesPerToken = energy === null || this.#tokens === 0 ? null : energy.joules / this.#tokens;
    return {
      sequences: this.#sequences,
      errors: this.#errors,
      tokens: this.#tokens,
      firstTokenSeconds: this.#first.percentiles(),
      interTokenSeconds: this.#inter.percentiles(),
      energy: energy === null ? null : { ...energy, joulesPerToken },
    };
  }
}

/** Counts from the start of a canary; percentiles are of the last ROLLOUT_SAMPLES_MAX sequences. */
export class RolloutCounts {
  readonly #sides: Readonly<Record<Side, SideCounts>> = { baseline: new SideCounts(), candidate: new SideCounts() };
  #sequences = 0;
  #tokens = 0;
  #agreeing = 0;
  #baselineLogprob = 0;
  #candidateLogprob = 0;
  #notCompared = 0;

  answered(side: Side, answer: Answered): void {
    this.#sides[side].add(answer);
  }

  compared({ tokens, agreeing, baselineLogprob, candidateLogprob }: Compared): void {
    this.#sequences++;
    this.#tokens += tokens;
    this.#agreeing += agreeing;
    this.#baselineLogprob += baselineLogprob;
    this.#candidateLogprob += candidateLogprob;
  }

  notCompared(): void {
    this.#notCompared++;
  }

  report(energy: Readonly<Record<Side, EnergyReport | null>>): RolloutReport {
    const tokens = this.#tokens;
    const quality = {
      sequences: this.#sequences,
      tokens,
      agreement: this.#agreeing / tokens,
      baselinePerplexity: Math.exp(-this.#baselineLogprob / tokens),
      candidatePerplexity: Math.exp(-this.#candidateLogprob / tokens),
    };
    return {
      baseline: this.#sides.baseline.report(energy.baseline),
      candidate: this.#sides.candidate.report(energy.candidate),
      quality: tokens === 0 ? null : quality,
      notCompared: this.#notCompared,
    };
  }
}
