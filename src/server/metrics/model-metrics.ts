import type { EngineObserver } from '../../engine/types.js';
import type { MetricsModel } from './engine-series.js';
import { createStepSums, type ModelSeries } from './model-series.js';

/** Times between tokens that wait to be counted. */
const INTERVALS_MAX = 256;

/** What one model's engine reports to. What runs before the model is attached, to warm up, isn't counted. */
export class ModelMetrics {
  readonly #series: ModelSeries;
  #model: MetricsModel | null = null;
  #labels = { model_name: '' };
  #steps = createStepSums();
  readonly #intervals = new Float64Array(INTERVALS_MAX);
  #intervalCount = 0;

  constructor(series: ModelSeries) {
    this.#series = series;
  }

  attach(model: MetricsModel): void {
    this.#model = model;
    this.#labels = { model_name: model.id };
    this.#series.attach(model);
    this.#steps = this.#series.stepsOf(model.id);
    this.#series.folds.add(this.#fold);
  }

  /** The model is unloaded. */
  detach(): void {
    this.#fold();
    this.#series.folds.delete(this.#fold);
    if (this.#model !== null) this.#series.detach(this.#model);
  }

  /** Many in a row take a tenth of the time that each takes by itself, between two steps. */
  readonly #fold = (): void => {
    for (let i = 0; i < this.#intervalCount; i++) {
      this.#series.interToken.observe(this.#labels, this.#intervals[i] as number);
    }
    this.#intervalCount = 0;
  };

  countPrefixCache(promptTokens: number, cachedTokens: number): void {
    for (const counter of this.#series.cacheQueries) counter.inc(this.#labels, promptTokens);
    for (const counter of this.#series.cacheHits) counter.inc(this.#labels, cachedTokens);
  }

  /** Given to the engine when it is opened. */
  readonly observer: Required<Pick<EngineObserver, 'onStep' | 'onFinished' | 'onToken'>> = {
    onStep: ({ prefillTokens, decodeTokens, counters }) => {
      if (this.#model === null) return;
      const sums = this.#steps;
      const { work } = sums;
      sums.count += 1;
      sums.prefillTokens += prefillTokens;
      sums.decodeTokens += decodeTokens;
      for (let i = 0; i < work.length; i++) work[i] = (work[i] ?? 0) + (counters[i] ?? 0);
    },
    onFinished: (sequence) => {
      if (this.#model === null) return;
      const [series, labels] = [this.#series, this.#labels];
      if (sequence.reason === 'error') series.failed.inc(labels);
      else series.finished.inc({ ...labels, finished_reason: sequence.reason });
      series.prompt.inc(labels, sequence.promptTokens);
      series.pruned.inc(labels, sequence.prunedTokens ?? 0);
      series.generated.inc(labels, sequence.completionTokens);
      series.queue.observe(labels, sequence.queueSeconds);
      series.total.observe(labels, sequence.totalSeconds);
      if (sequence.firstTokenSeconds === null) return;
      series.firstToken.observe(labels, sequence.firstTokenSeconds);
      series.prefill.observe(labels, Math.max(0, sequence.firstTokenSeconds - sequence.queueSeconds));
      series.decode.observe(labels, Math.max(0, sequence.totalSeconds - sequence.firstTokenSeconds));
    },
    onToken: ({ interTokenSeconds }) => {
      if (interTokenSeconds === null || this.#model === null) return;
      this.#intervals[this.#intervalCount++] = interTokenSeconds;
      if (this.#intervalCount === INTERVALS_MAX) this.#fold();
    },
  };
}
