/** Figures of an agreement, from models whose every prediction is chosen here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alignedRows, measureAgreement, type ScoredModel } from '../../src/cli/eval/scorer.js';
import { NibbleError } from '../../src/errors.js';
import type { StepBatch, StepResult } from '../../src/native/contract.js';
import { countersOf, FakeNative } from '../support/fake-native.js';

const VOCAB = 2;

/** Says what it is told to at each position: the probability of token 0, of two. */
class Told extends FakeNative {
  readonly #probability: (position: number) => number;

  constructor(probability: (position: number) => number) {
    super({ blockCount: 16, vocab: VOCAB });
    this.#probability = probability;
  }

  override async step(batch: StepBatch): Promise<StepResult> {
    const rows = batch.rows.subarray(0, batch.rowCount);
    const positions = Array.from(rows, (row) => batch.positions[row] ?? 0);
    const logits = positions.flatMap((position) => {
      const p = this.#probability(position);
      // Logits are free up to a constant.
      return [Math.log(p) + 7, Math.log(1 - p) + 7];
    });
    const logprobs = positions.map((position, i) => {
      const p = this.#probability(position);
      return Math.log(batch.targets[i] === 0 ? p : 1 - p);
    });
    return {
      tokens: batch.targets.slice(0, batch.rowCount),
      logprobs: Float32Array.from(logprobs),
      topIds: new Int32Array(0),
      topLogprobs: new Float32Array(0),
      failed: new Uint8Array(batch.rowCount),
      logits: Float32Array.from(logits),
      counters: countersOf({}),
    };
  }
}

const scored = (probability: (position: number) => number, vocab = VOCAB): ScoredModel => ({
  nativeModel: new Told(probability),
  modelFile: { architecture: { vocab } } as ScoredModel['modelFile'],
});
const near = (got: number | undefined, expected: number) =>
  assert.ok(Math.abs((got ?? Number.NaN) - expected) < 1e-6, `${got} for ${expected}`);

test('divergence, agreement and the paired ratio are those worked out by hand', async () => {
  // Five tokens, all 0: four rows are scored, in each of two windows.
  const windows = [new Int32Array(5), new Int32Array(5)];
  const half = () => 1 / 2;
  const reference = scored(half);
  // At every other position it prefers token 1.
  const swinging = scored((position) => (position % 2 === 0 ? 1 / 2 : 1 / 4));
  const [same, other] = await measureAgreement(reference, [scored(half), swinging], windows, 'full');
  assert.deepEqual([same?.klMean, same?.klP99, same?.sameTop, same?.ratio, same?.ratioError], [0, 0, 1, 1, 0]);

  // KL((½, ½)‖(¼, ¾)) = ½ ln 2 + ½ ln ⅔, at half of the positions.
  const kl = 0.5 * Math.log(2) + 0.5 * Math.log(2 / 3);
  near(other?.klMean, kl / 2);
  // Of eight values half are 0, half kl: variance kl²/4 · 8/7, so the error is kl/2 · √(8/7) ÷ √8.
  near(other?.klError, kl / 2 / Math.sqrt(7));
  near(other?.klP99, kl);
  assert.equal(other?.sameTop, 0.5);
  // Losses differ by ln 2 at half of the positions: the ratio is √2, its error √2 · (ln 2)/2 ÷ √7.
  near(other?.ratio, Math.SQRT2);
  near(other?.ratioError, (Math.SQRT2 * Math.LN2) / 2 / Math.sqrt(7));
  near(other?.reference.perplexity, 2);
  near(other?.candidate.perplexity, 2 * Math.SQRT2);
  assert.equal(other?.candidate.tokens, 8);
});

test('rows of all models stand side by side, also where a sequence takes several steps', async () => {
  const told = (scale: number) => new Told((position) => (position + 1) * scale);
  const rows: number[][] = [];
  for await (const { row, logprobs } of alignedRows([told(0.01), told(0.005)], VOCAB, new Int32Array(80), 3)) {
    rows.push([row, ...logprobs.map((logprob) => Math.round(Math.exp(logprob) * 1000))]);
  }
  assert.deepEqual(
    rows,
    Array.from({ length: 76 }, (_, i) => [i + 3, (i + 4) * 10, (i + 4) * 5]),
  );
});

test('another vocabulary is refused before anything runs', async () => {
  const never = () => {
    throw new Error('it ran');
  };
  await assert.rejects(
    measureAgreement(scored(never), [scored(never, 3)], [new Int32Array(4)], 'full'),
    (error) => error instanceof NibbleError && error.code === 'invalid_request',
  );
});
