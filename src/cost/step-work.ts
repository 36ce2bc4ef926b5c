/** What a sequence has a step do, and what that is worth: the measure by which a step's energy is divided. */
import type { EnergyTable } from './energy-table.js';

/** Of a loaded model, per unit of work. */
export type ModelWork = {
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

/** One sequence's part of a step. */
export type SequenceWork = {
  /** Tokens that it computes, and rows of which it wants logits. */
  readonly tokens: number;
  readonly rows: number;
  /** Positions in its cache before the step: computed by whom ever. */
  readonly cachedTokens: number;
};

/** Positions that new tokens look at: each those before it, and itself. */
export function positionsSeen({ tokens, cachedTokens }: SequenceWork): number {
  return tokens * cachedTokens + (tokens * (tokens + 1)) / 2;
}

/**
 * Picojoules of each sequence's work by the table. Weights are read once for all: their bytes are divided by tokens,
 * those of the head by rows. Arithmetic is a sequence's own, and so are the keys and values that it reads and writes.
 */
export function workOf(parts: readonly SequenceWork[], model: ModelWork, table: EnergyTable): readonly number[] {
  const tokens = parts.reduce((sum, part) => sum + part.tokens, 0);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  const perToken =
    (model.layerBytes / Math.max(tokens, 1)) * table.memoryBytePj +
    model.int8MacsPerToken * table.int8MacPj +
    model.fp32MacsPerToken * table.fp32MacPj;
  const perRow =
    (model.headBytes / Math.max(rows, 1)) * table.memoryBytePj +
    model.int8MacsPerRow * table.int8MacPj +
    model.fp32MacsPerRow * table.fp32MacPj;
  return parts.map((part) => {
    const kvBytes = (part.cachedTokens + 2 * part.tokens) * model.kvBytesPerPosition;
    const attention = positionsSeen(part) * model.macsPerPosition * table.fp32MacPj;
    return part.tokens * perToken + part.rows * perRow + kvBytes * table.memoryBytePj + attention;
  });
}
