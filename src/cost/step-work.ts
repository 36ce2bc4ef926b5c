/** What a sequence has a step do, and what that is worth: the measure by which a step's energy is divided. */
import type { EnergyTable } from './energy-table.js';

/** Of a loaded model, per unit of work. */
export type ModelWork = {
  readonly layers: number;
  /** All layers once, and the head once. */
  readonly layerBytes: number;
  readonly headBytes: number;
  readonly int8MacsPerToken: number;
  readonly fp32MacsPerToken: number;
  readonly int8MacsPerRow: number;
  readonly fp32MacsPerRow: number;
  /** Attention of one token to one position, in all layers (fp32). */
  readonly macsPerPosition: number;
  /** Keys and values of one position, in all layers. */
  readonly kvBytesPerPosition: number;
};

/** What a run of layers, up to the next run or the last layer, computes for a sequence in a step. */
export type LayerWork = {
  readonly firstLayer: number;
  readonly tokens: number;
  /** Positions in its cache before the step: computed by whom ever. */
  readonly cachedTokens: number;
};

/** One sequence's part of a step: tokens that it computes, and rows of which it wants logits. */
export type SequenceWork = Omit<LayerWork, 'firstLayer'> & {
  readonly rows: number;
  /** Where tokens are pruned: what later layers see instead, ascending. */
  readonly pruned?: readonly LayerWork[];
};

/** Positions that new tokens look at: each those before it, and itself. */
export function positionsSeen({ tokens, cachedTokens }: Pick<LayerWork, 'tokens' | 'cachedTokens'>): number {
  return tokens * cachedTokens + (tokens * (tokens + 1)) / 2;
}

/** Means over the layers; written to, because a step has no time to make objects. */
type MeanWork = { tokens: number; kvPositions: number; positionsSeen: number };

function addRun(mean: MeanWork, share: number, run: Pick<LayerWork, 'tokens' | 'cachedTokens'>): void {
  mean.tokens += share * run.tokens;
  // Those before are read, the new ones are written and read.
  mean.kvPositions += share * (run.cachedTokens + 2 * run.tokens);
  mean.positionsSeen += share * positionsSeen(run);
}

/** What a sequence's part is in the mean of all layers; it is written into `mean`. */
function meanOf(part: SequenceWork, layers: number, mean: MeanWork): Readonly<MeanWork> {
  mean.tokens = mean.kvPositions = mean.positionsSeen = 0;
  const { pruned } = part;
  if (pruned === undefined) {
    addRun(mean, 1, part);
    return mean;
  }
  addRun(mean, (pruned[0]?.firstLayer ?? layers) / layers, part);
  for (let i = 0; i < pruned.length; i++) {
    const run = pruned[i];
    if (run !== undefined) addRun(mean, ((pruned[i + 1]?.firstLayer ?? layers) - run.firstLayer) / layers, run);
  }
  return mean;
}

/**
 * Picojoules of each sequence's work by the table. Weights are read once for all: their bytes are divided by tokens,
 * those of the head by rows. Arithmetic is a sequence's own, and so are the keys and values that it reads and writes.
 */
export function workOf(parts: readonly SequenceWork[], model: ModelWork, table: EnergyTable): readonly number[] {
  const mean: MeanWork = { tokens: 0, kvPositions: 0, positionsSeen: 0 };
  let [tokens, rows] = [0, 0];
  for (const part of parts) {
    tokens += meanOf(part, model.layers, mean).tokens;
    rows += part.rows;
  }
  const perToken =
    (tokens === 0 ? 0 : (model.layerBytes / tokens) * table.memoryBytePj) +
    model.int8MacsPerToken * table.int8MacPj +
    model.fp32MacsPerToken * table.fp32MacPj;
  const perRow =
    (rows === 0 ? 0 : (model.headBytes / rows) * table.memoryBytePj) +
    model.int8MacsPerRow * table.int8MacPj +
    model.fp32MacsPerRow * table.fp32MacPj;
  return parts.map((part) => {
    const own = meanOf(part, model.layers, mean);
    const cache = own.kvPositions * model.kvBytesPerPosition * table.memoryBytePj;
    const attention = own.positionsSeen * model.macsPerPosition * table.fp32MacPj;
    return own.tokens * perToken + part.rows * perRow + cache + attention;
  });
}
