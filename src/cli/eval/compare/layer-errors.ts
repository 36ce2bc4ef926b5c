/** Where in its layers a candidate goes away from the reference. */
import { NibbleError } from '../../../errors.js';
import { nativeCall } from '../../bench/native-call.js';
import { type DirectSequence, Stepper } from '../../bench/stepper.js';
import type { ScoredModel } from '../scorer.js';

/** Windows that are looked at: a mean over some hundred tokens is steady. */
export const LAYER_WINDOWS = 4;

/** Tokens of a step: each has its state behind every layer, half a megabyte of it in a model of 8 billion weights. */
const TOKENS_AT_ONCE = 64;

/** Sums over tokens and elements, by layer. */
class ErrorMeter {
  readonly #difference: Float64Array;
  readonly #size: Float64Array;

  constructor(layers: number) {
    this.#difference = new Float64Array(layers);
    this.#size = new Float64Array(layers);
  }

  /** @param x, y [layers][tokens][hidden] of the reference and of the candidate */
  add(x: Float32Array, y: Float32Array): void {
    const stride = x.length / this.#size.length;
    for (let layer = 0; layer < this.#size.length; ++layer) {
      let difference = 0;
      let size = 0;
      for (let i = layer * stride; i < (layer + 1) * stride; ++i) {
        const own = x[i] ?? 0;
        difference += ((y[i] ?? 0) - own) ** 2;
        size += own ** 2;
      }
      this.#difference[layer] = (this.#difference[layer] ?? 0) + difference;
      this.#size[layer] = (this.#size[layer] ?? 0) + size;
    }
  }

  result(): number[] {
    return Array.from(this.#difference, (sum, layer) => Math.sqrt(sum / (this.#size[layer] ?? Number.NaN)));
  }
}

type Runner = { readonly stepper: Stepper; readonly sequence: DirectSequence };

async function hiddenOf({ stepper, sequence }: Runner, tokens: Int32Array): Promise<Float32Array> {
  const part = { sequence, tokens, rowStart: 0, targets: [] };
  const { hidden } = await nativeCall(() => stepper.step([part], { wantHidden: true }));
  if (hidden === undefined) throw new NibbleError('engine_failed', { message: 'a step gave no hidden states' });
  return hidden;
}

/**
 * √(Σ(x′ − x)² ÷ Σx²) of the residual stream behind each layer, one list per candidate; null for a candidate with other
 * layers than the reference's.
 */
export async function measureLayerErrors(
  reference: ScoredModel,
  candidates: readonly ScoredModel[],
  windows: readonly Int32Array[],
): Promise<(number[] | null)[]> {
  const shapeOf = ({ modelFile: { architecture } }: ScoredModel) => `${architecture.layers} ${architecture.hidden}`;
  const meters = candidates.map((candidate) => {
    return shapeOf(candidate) === shapeOf(reference) ? new ErrorMeter(reference.modelFile.architecture.layers) : null;
  });
  const models = [reference, ...candidates];
  for (const tokens of windows) {
    const runners = models.map(({ nativeModel }): Runner => {
      const stepper = new Stepper(nativeModel);
      return { stepper, sequence: stepper.open(tokens.length) };
    });
    try {
      for (let at = 0; at < tokens.length; at += TOKENS_AT_ONCE) {
        const chunk = tokens.subarray(at, at + TOKENS_AT_ONCE);
        const [own, ...others] = runners;
        if (own === undefined) break;
        const x = await hiddenOf(own, chunk);
        for (const [i, other] of others.entries()) meters[i]?.add(x, await hiddenOf(other, chunk));
      }
    } finally {
      for (const { stepper, sequence } of runners) stepper.closeAll([sequence]);
    }
  }
  return meters.map((meter) => meter?.result() ?? null);
}
