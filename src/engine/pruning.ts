/**
 * Token pruning at prefill (Agile-Quant, arXiv 2312.05693, with windows; docs/arithmetic.md, "Methods"): settings, and
 * what the scheduler and the addon are told of them.
 */
import type { LayerWork } from '../cost/step-work.js';
import { KV_BLOCK_TOKENS, PRUNING_WINDOW_TOKENS } from '../limits.js';
import type { PruningSpec } from '../native/contract.js';

export type TokenPruning = {
  /** Share of a long prompt's tokens that go through the last layers, in (0, 1]; 1: nothing is pruned. */
  readonly keep: number;
  /** The first layer behind which tokens are dropped; layers count from 0. */
  readonly afterLayer: number;
  /** In how many steps, spread evenly over the layers from there on. */
  readonly stages: number;
};

/** Settings of a model with so many layers, checked: what is dropped where. */
export type PruningPlan = Pick<PruningSpec, 'layers' | 'tokens'> & {
  /** Of the prompt's tokens, about. */
  readonly keep: number;
  /** Equal for plans that are equal; at least 0. */
  readonly policy: number;
};

/**
 * Of the tokens that stay, so many are the most important of the windows that lose some. The others are the prompt's
 * end, whole: it decides most of what comes next (docs/methods/token-pruning.md).
 */
const IMPORTANT_SHARE = 3 / 4;

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
  const keptBlocks = Math.max(1, roundUp(IMPORTANT_SHARE * keep * windowBlocks));
  if (keep >= 1) return null;
  const share = keptBlocks / windowBlocks;
  const stage = Array.from({ length: stages }, (_, i) => i);
  const first = afterLayer + 1;
  return {
    keep,
    layers: Int32Array.from(stage, (i) => first + Math.floor((i * (layers - first)) / stages)),
    tokens: Int32Array.from(stage, (i) => roundUp(share ** ((i + 1) / stages) * windowBlocks) * KV_BLOCK_TOKENS),
    policy: (afterLayer * windowBlocks + keptBlocks) * 8 + stages,
  };
}

/** Powers are rounded: what is whole but for that is whole. */
const roundUp = (value: number): number => Math.ceil(value - 1e-9);

/**
 * Windows of a prompt that lose tokens; what is behind them doesn't. As many stay whole at the end as `keep` allows,
 * but at least one.
 */
export function prunedWindows({ keep, tokens }: PruningPlan, promptTokens: number): number {
  const windows = Math.floor(promptTokens / PRUNING_WINDOW_TOKENS);
  const share = (tokens.at(-1) ?? PRUNING_WINDOW_TOKENS) / PRUNING_WINDOW_TOKENS;
  const whole = Math.max(1, Math.floor((windows * (keep - share)) / (1 - share) + 1e-9));
  return Math.max(0, windows - whole);
}

/** Prompt tokens that the last layers don't see. */
export function prunedTokens(plan: PruningPlan, promptTokens: number): number {
  return prunedWindows(plan, promptTokens) * (PRUNING_WINDOW_TOKENS - (plan.tokens.at(-1) ?? PRUNING_WINDOW_TOKENS));
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
  const windows = prunedWindows(plan, promptTokens);
  return Array.from(plan.layers, (firstLayer, stage) => {
    const kept = plan.tokens[stage] ?? PRUNING_WINDOW_TOKENS;
    const cachedTokens = keptUpTo(first, windows, kept);
    const tokens = Math.max(0, keptUpTo(first + count, windows, kept) - cachedTokens);
    return { firstLayer, tokens, cachedTokens };
  });
}

/** What the addon is told when a sequence gets its slot. */
export function pruningSpec(plan: PruningPlan, promptTokens: number): PruningSpec {
  const { layers, tokens } = plan;
  return { windows: prunedWindows(plan, promptTokens), layers, tokens, isRandom: false };
}
