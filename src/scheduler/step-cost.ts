/** What the time of a step depends on. */
export type StepShape = {
  readonly tokens: number;
  /** Rows whose logits are computed. */
  readonly rows: number;
  /** Cached positions that attention reads, summed over tokens of prompts, which read them together. */
  readonly prefillPositions: number;
  /** The same of tokens that decode, each of which reads its own. */
  readonly decodePositions: number;
};

/** ms per step, token, row, position of a prompt, position of a decode. */
export type CostParameters = readonly [number, number, number, number, number];

const featureCount = 5;
/** Weight of all earlier steps against the newest one: some hundred steps count. */
const decay = 0.99;
/** What took more than this many times what was expected was held up by something else, or nothing is known yet. */
const surpriseMax = 3;
/** Share of the newest turn in what a turn costs, and the longest that is believed: others have their own reasons. */
const turnShare = 0.1;
const turnMsMax = 4;
/** At each step: what was too long to be risked again is forgotten some hundred steps later. */
const turnDecay = 0.998;
/** How hard parameters cling to what they were where new steps say nothing about them. */
const inertia = 1e-3;

/**
 * Predicts the time of a step from its shape, and learns from measured ones: time ≈ a + b·tokens + r·rows +
 * p·prefillPositions + d·decodePositions, by least squares of the error relative to what was expected, with
 * exponential forgetting. Steps that look alike (decoding at a constant batch) leave some parameters undetermined;
 * these keep their values.
 */
export class StepCost {
  /** What it costs to plan a step only when the one before has returned, ms. */
  turnMs = 0.1;
  /** As in `CostParameters`, as far as it is known now. */
  readonly parameters: Float64Array;
  /** Normal equations, row-major, and their right side; both decay. */
  private readonly matrix = new Float64Array(featureCount * featureCount);
  private readonly right = new Float64Array(featureCount);

  /** Starts from a guess, which the first steps replace. */
  constructor(guess: CostParameters = [1, 1, 0.2, 1e-4, 1e-3]) {
    this.parameters = Float64Array.from(guess);
  }

  /** Takes in a measured step; a clock that says 0 is not believed. */
  learn(shape: StepShape, ms: number): void {
    if (!(ms > 0)) return;
    this.turnMs *= turnDecay;
    const { tokens, rows, prefillPositions, decodePositions } = shape;
    // Errors count in proportion to what was expected: divided by the measured time they would pull towards the
    // shortest times, a fifth too low on a busy machine. Great surprises count less, or they would outweigh the rest.
    const scale = Math.max(this.predictMs(shape), ms / surpriseMax);
    const x = [1, tokens, rows, prefillPositions, decodePositions].map((value) => value / scale);
    const y = ms / scale;
    for (let i = 0; i < featureCount; i++) {
      const xi = x[i] as number;
      for (let j = 0; j < featureCount; j++) {
        const at = i * featureCount + j;
        this.matrix[at] = decay * (this.matrix[at] as number) + xi * (x[j] as number);
      }
      this.right[i] = decay * (this.right[i] as number) + xi * y;
    }
    // Solved at once, a microsecond: what is learned about prompts must be kept before decoding has washed it out.
    solveTowards(this.matrix, this.right, this.parameters);
  }

  predictMs({ tokens, rows, prefillPositions, decodePositions }: StepShape): number {
    const [a = 0, b = 0, r = 0, p = 0, d = 0] = this.parameters;
    return a + b * tokens + r * rows + p * prefillPositions + d * decodePositions;
  }

  /** Takes in how much longer a step took to return because it was planned when the one before had returned. */
  learnTurn(ms: number): void {
    this.turnMs += turnShare * (Math.min(Math.max(0, ms), turnMsMax) - this.turnMs);
  }

  /** What one more token that decodes, and is sampled, at this position adds to a step. */
  decodeMs(position: number): number {
    const [, b = 0, r = 0, , d = 0] = this.parameters;
    return b + r + d * (position + 1);
  }

  /** How many prompt tokens from position `first` on may join a step of this shape for it to take `ms`; 0 if none. */
  tokensWithin(ms: number, shape: StepShape, first: number): number {
    const [, b = 0, , p = 0] = this.parameters;
    const left = ms - this.predictMs(shape);
    if (left <= 0) return 0;
    // n tokens add b·n + p·(first·n + n²/2).
    const linear = b + p * first;
    if (linear <= 0) return Number.POSITIVE_INFINITY;
    return Math.floor((2 * left) / (linear + Math.sqrt(linear * linear + 2 * p * left)));
  }
}

const scratchMatrix = new Float64Array(featureCount * featureCount);
const scratchRight = new Float64Array(featureCount);
const isZero = new Uint8Array(featureCount);

/**
 * Moves `start` to the solution of `matrix` · p = `right` with p ≥ 0, for nothing takes less than no time, and a ridge
 * that holds each parameter to its start in proportion to what the steps say about it. Parameters that would be
 * negative are 0, and the others are solved for without them: beside a negative one they would be too large.
 */
function solveTowards(matrix: Float64Array, right: Float64Array, start: Float64Array): void {
  isZero.fill(0);
  for (let zeros = 0; zeros < featureCount; zeros++) {
    solveOthers(matrix, right, start);
    let worst = -1;
    let least = 0;
    for (let i = 0; i < featureCount; i++) {
      const value = isZero[i] === 1 ? 0 : (start[i] as number) + (scratchRight[i] as number);
      if (value < least) [worst, least] = [i, value];
    }
    if (worst < 0) break;
    isZero[worst] = 1;
  }
  for (let i = 0; i < featureCount; i++) {
    start[i] = isZero[i] === 1 ? 0 : Math.max(0, (start[i] as number) + (scratchRight[i] as number));
  }
}

/** How far the others have to move, in `scratchRight`. Gaussian elimination; the ridge keeps pivots positive. */
function solveOthers(matrix: Float64Array, right: Float64Array, start: Float64Array): void {
  const n = featureCount;
  const a = scratchMatrix;
  const y = scratchRight;
  for (let i = 0; i < n; i++) {
    let residual = right[i] as number;
    for (let j = 0; j < n; j++) {
      const isUsed = isZero[i] === 0 && isZero[j] === 0;
      const value = isUsed ? (matrix[i * n + j] as number) : 0;
      residual -= value * (start[j] as number);
      a[i * n + j] = value;
    }
    y[i] = isZero[i] === 1 ? 0 : residual;
    a[i * n + i] = (a[i * n + i] as number) * (1 + inertia) + Number.MIN_VALUE;
  }
  for (let k = 0; k < n; k++) {
    const pivot = a[k * n + k] as number;
    if (!(pivot > 1e-300)) continue;
    for (let i = k + 1; i < n; i++) {
      const factor = (a[i * n + k] as number) / pivot;
      for (let j = k; j < n; j++) a[i * n + j] = (a[i * n + j] as number) - factor * (a[k * n + j] as number);
      y[i] = (y[i] as number) - factor * (y[k] as number);
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    const pivot = a[k * n + k] as number;
    let value = y[k] as number;
    for (let j = k + 1; j < n; j++) value -= (a[k * n + j] as number) * (y[j] as number);
    y[k] = pivot > 1e-300 ? value / pivot : 0;
  }
}
