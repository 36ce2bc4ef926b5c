/**
 * Token pruning at prefill (Agile-Quant, arXiv 2312.05693, with windows; docs/arithmetic.md, "Methods"): settings, and
 * what the scheduler and the addon are told of them.
 */
import type { LayerWork } from '../cost/step-work.js';
import { KV_BLOCK_TOKENS, PRUNING_WINDOW_TOKENS } from '../limits.js';
import type { PruningSpec } from '../native/contract.js';

export type TokenPruning = {
  /** Share of a window's tokens that go through the last layers, in (0, 1]; 1: nothing is pruned. */
  readonly keep: number;
  /** The first layer behind which tokens are dropped; layers count from 0. */
  readonly afterLayer: number;
  /** In how many steps, spread evenly over the layers from there on. */
  readonly stages: number;
};

/** Settings of a model with so many layers, checked: what is dropped where. */
export type PruningPlan = Pick<PruningSpec, 'layers' | 'tokens'> & {
  /** Equal for plans that are equal; at least 0. */
  readonly policy: number;
};

/** Whether a model of so many layers can be pruned so. */
export function fitsLayers({ afterLayer, stages }: TokenPruning, layers: number): boolean {
  return afterLayer + stages < layers;
}

/**
 * Tokens of a window that stay behind each of the stages: the same share γ = 1 − (1 − β)^(1/m) of what there was is
 * dropped m times, β in all, and what stays is rounded up to whole KV blocks. Null if nothing is dropped.
 * `fitsLayers` must hold.
 */
export function planPruning({ keep, afterLayer, stages }: TokenPruning, layers: number): PruningPlan | null {
  const windowBlocks = PRUNING_WINDOW_TOKENS / KV_BLOCK_TOKENS;
  const keptBlocks = Math.max(1, roundUp(keep * windowBlocks));
  if (keptBlocks >= windowBlocks) return null;
  const share = keptBlocks / windowBlocks;
  const stage = Array.from({ length: stages }, (_, i) => i);
  const first = afterLayer + 1;
  return {
    layers: Int32Array.from(stage, (i) => first + Math.floor((i * (layers - first)) / stages)),
    tokens: Int32Array.from(stage, (i) => roundUp(share ** ((i + 1) / stages) * windowBlocks) * KV_BLOCK_TOKENS),
    policy: (afterLayer * windowBlocks + keptBlocks) * 8 + stages,
  };
}

/** Powers are rounded: what is whole but for that is whole. */
const roundUp = (value: number): number => Math.ceil(value - 1e-9);

/** Whole windows of a prompt: what is behind them isn't pruned. */
export function prunedWindows(promptTokens: number): number {
  return Math.floor(promptTokens / PRUNING_WINDOW_TOKENS);
}

/** Prompt tokens that the last layers don't see. */
export function prunedTokens(plan: PruningPlan, promptTokens: number): number {
  return prunedWindows(promptTokens) * (PRUNING_WINDOW_TOKENS - (plan.tokens.at(-1) ?? PRUNING_WINDOW_TOKENS));
}

/** Of the first `position` tokens of a sequence, those that layers see which keep so many of each window. */
function keptUpTo(position: number, windows: number, kept: number): number {
  const whole = Math.min(windows, Math.floor(position / PRUNING_WINDOW_TOKENS));
  return position - whole * (PRUNING_WINDOW_TOKENS - kept);
}

/** What later layers compute of tokens [first, first + count) of a sequence, for the division of a step's energy. */
export function prunedWork(
  plan: PruningPlan,
  promptTokens: number,
  first: number,
  count: number,
): readonly LayerWork[] {
  const windows = prunedWindows(promptTokens);
  return Array.from(plan.layers, (firstLayer, stage) => {
    const kept = plan.tokens[stage] ?? PRUNING_WINDOW_TOKENS;
    const cachedTokens = keptUpTo(first, windows, kept);
    const tokens = Math.max(0, keptUpTo(first + count, windows, kept) - cachedTokens);
    return { firstLayer, tokens, cachedTokens };
  });
}

/** What the addon is told when a sequence gets its slot. */
export function pruningSpec({ layers, tokens }: PruningPlan, promptTokens: number): PruningSpec {
  return { windows: prunedWindows(promptTokens), layers, tokens, isRandom: false };
}
