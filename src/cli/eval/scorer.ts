/** The one place where models' predictions of the same tokens are compared. */
import type { OpenedModel } from '../../engine/open-types.js';
import { type PruningPlan, planPruning, pruningSpec } from '../../engine/pruning.js';
import { NibbleError } from '../../errors.js';
import type { ModelFile } from '../../model/types.js';
import type { NativeModel, PruningSpec } from '../../native/contract.js';
import { quantile } from '../bench/statistics.js';
import { argmax, ReferenceRow } from './divergence.js';
import { type ScoredRows, scoreSequence } from './session.js';
import { firstScoredRow, LossMeter, type Perplexity, type Protocol } from './windows.js';

/** Rows of logits held at once per model: 32 rows of a vocabulary of 128k are 16 MB. */
const ROWS_AT_ONCE = 32;

export type ScoredModel = Pick<OpenedModel, 'nativeModel' | 'modelFile'>;

/** What several models say at one position of a sequence, in their order. */
export type AlignedRow = {
  /** Index of the row; its target is the token after it. */
  readonly row: number;
  /** Raw logits, valid until the next row is asked for. */
  readonly logits: readonly Float32Array[];
  /** ln p(target). */
  readonly logprobs: readonly number[];
};

/**
 * Runs a sequence through several models of one vocabulary side by side and yields the rows [firstRow, length − 1).
 * Only a few rows of each are held, so any number of candidates shares one pass of the reference. `prunings`, one for
 * each model, say how it drops tokens of the sequence's prompt.
 */
export async function* alignedRows(
  models: readonly NativeModel[],
  vocab: number,
  tokens: Int32Array,
  firstRow: number,
  prunings: readonly (PruningSpec | undefined)[] = [],
): AsyncGenerator<AlignedRow, void, undefined> {
  const outputs = { wantLogprobs: true, wantLogits: true, rowsMax: ROWS_AT_ONCE };
  const passes = models.map((model, i) => scoreSequence(model, tokens, firstRow, outputs, prunings[i]));
  try {
    for (;;) {
      const parts: ScoredRows[] = [];
      // One after the other: each model has all threads to itself.
      for (const pass of passes) {
        const next = await pass.next();
        if (next.done !== true) parts.push(next.value);
      }
      const [first] = parts;
      if (first === undefined) return;
      for (let i = 0; i < first.rows; ++i) {
        const logits = parts.map(({ result }) => result.logits?.subarray(i * vocab, (i + 1) * vocab));
        const all = logits.flatMap((row) => row ?? []);
        if (all.length !== models.length) throw new NibbleError('engine_failed', { message: 'a step gave no logits' });
        const logprobs = parts.map(({ result }) => result.logprobs[i] ?? Number.NaN);
        yield { row: first.rowStart + i, logits: all, logprobs };
      }
    }
  } finally {
    for (const pass of passes) await pass.return();
  }
}

/** How far a candidate's predictions are from the reference's. */
export type Agreement = {
  /** KL(reference‖candidate) per token, nats, with std/√n and its 99th percentile. */
  readonly klMean: number;
  readonly klError: number;
  readonly klP99: number;
  /** Share of tokens where both find the same token most likely. */
  readonly sameTop: number;
  /**
   * Perplexity ÷ the reference's. Both score the same tokens, so the error is that of the paired differences: far
   * smaller than those of the two perplexities.
   */
  readonly ratio: number;
  readonly ratioError: number;
  readonly reference: Perplexity;
  readonly candidate: Perplexity;
};

class AgreementMeter {
  readonly #divergences: number[] = [];
  readonly #candidate = new LossMeter();
  readonly #excess = new LossMeter();
  #same = 0;

  add(kl: number, isSame: boolean, referenceLoss: number, loss: number): void {
    this.#divergences.push(kl);
    if (isSame) this.#same += 1;
    this.#candidate.add(loss);
    this.#excess.add(loss - referenceLoss);
  }

  result(reference: Perplexity): Agreement {
    const count = this.#divergences.length;
    const klMean = this.#divergences.reduce((sum, kl) => sum + kl, 0) / count;
    const squares = this.#divergences.reduce((sum, kl) => sum + (kl - klMean) ** 2, 0);
    const excess = this.#excess.result();
    return {
      klMean,
      klError: count > 1 ? Math.sqrt(squares / (count - 1) / count) : 0,
      klP99: quantile(this.#divergences, 0.99),
      sameTop: this.#same / count,
      ratio: excess.perplexity,
      ratioError: excess.standardError,
      reference,
      candidate: this.#candidate.result(),
    };
  }
}

/** Throws `invalid_request` if two models don't have the same tokens. */
export function checkSameVocabulary(reference: ScoredModel, candidate: ScoredModel): void {
  if (reference.modelFile.architecture.vocab === candidate.modelFile.architecture.vocab) return;
  throw new NibbleError(
    'invalid_request',
    { message: 'The reference has another vocabulary.' },
    { param: 'reference' },
  );
}

/**
 * Tokens of which the rows [firstRow, length − 1) are scored, each on the token after it. The first `promptTokens` are
 * pruned by models whose recipe says so; `firstRow` isn't the last row of a whole window then.
 */
export type ScoredSequence = {
  readonly tokens: Int32Array;
  readonly firstRow: number;
  readonly promptTokens?: number;
};

/** How a file's recipe has prompts lose tokens; null: not at all. */
export function recipePruning({ architecture, nibble }: ModelFile): PruningPlan | null {
  const pruning = nibble?.recipe.pruning;
  return pruning === undefined ? null : planPruning(pruning, architecture.layers);
}

/** Compares every candidate with the reference over whole windows, in one pass of the reference. */
export function measureAgreement(
  reference: ScoredModel,
  candidates: readonly ScoredModel[],
  windows: readonly Int32Array[],
  protocol: Protocol,
  onWindow: (done: number) => void = () => {},
): Promise<Agreement[]> {
  const sequences = windows.map((tokens) => ({ tokens, firstRow: firstScoredRow(tokens.length, protocol) }));
  return measureSequences(reference, candidates, sequences, onWindow);
}

/** The same over sequences of any length. */
export async function measureSequences(
  reference: ScoredModel,
  candidates: readonly ScoredModel[],
  sequences: readonly ScoredSequence[],
  onSequence: (done: number) => void = () => {},
): Promise<Agreement[]> {
  const { vocab } = reference.modelFile.architecture;
  for (const candidate of candidates) checkSameVocabulary(reference, candidate);
  const models = [reference, ...candidates].map(({ nativeModel }) => nativeModel);
  const meters = candidates.map(() => new AgreementMeter());
  const losses = new LossMeter();
  const p = new ReferenceRow(vocab);
  const plans = [reference, ...candidates].map(({ modelFile }) => recipePruning(modelFile));
  for (const [index, { tokens, firstRow, promptTokens = 0 }] of sequences.entries()) {
    const prunings = plans.map((plan) =>
      plan === null || promptTokens === 0 ? undefined : pruningSpec(plan, promptTokens),
    );
    for await (const { logits, logprobs } of alignedRows(models, vocab, tokens, firstRow, prunings)) {
      const [pLogits = new Float32Array(vocab), ...others] = logits;
      const [pLogprob = Number.NaN, ...theirs] = logprobs;
      p.set(pLogits);
      losses.add(-pLogprob);
      const top = argmax(pLogits);
      for (const [i, q] of others.entries()) {
        meters[i]?.add(p.divergence(q), argmax(q) === top, -pLogprob, -(theirs[i] ?? Number.NaN));
      }
    }
    onSequence(index + 1);
  }
  const result = losses.result();
  return meters.map((meter) => meter.result(result));
}
