/** What the candidates of a comparison predict and write, beside the reference. */
import { freemem } from 'node:os';
import type { Config } from '../../../config.js';
import type { OpenedModel } from '../../../engine/open-types.js';
import { KV_BLOCK_TOKENS } from '../../../limits.js';
import type { Progress } from '../../bench/progress.js';
import { quantile } from '../../bench/statistics.js';
import { type Agreement, measureAgreement } from '../scorer.js';
import { evalOptions, openForEval } from '../session.js';
import type { Protocol } from '../windows.js';
import type { Contender } from './candidates.js';
import {
  choosePrompts,
  commonTokens,
  GREEDY_PROMPT_TOKENS,
  GREEDY_PROMPTS,
  GREEDY_TOKENS,
  writeGreedily,
} from './greedy-text.js';
import { LAYER_WINDOWS, measureLayerErrors } from './layer-errors.js';

export type Quality = {
  readonly agreement: Agreement;
  /** Tokens written greedily before the first that the reference wouldn't write: median and least over the prompts. */
  readonly greedyTokens: { readonly median: number; readonly min: number };
  /**
   * Relative error of the residual stream behind each layer, over a few windows; null if the models' layers can't be
   * compared.
   */
  readonly layerErrors: readonly number[] | null;
  readonly packedBytes: number;
};

/** Memory left alone beside the models of a group: logits, the tokenizers, other programs. */
const MEMORY_RESERVE_BYTES = 1e9;

/** Consecutive groups of at most `budget` bytes, at least one member each. Returns indices. */
export function groupBySize(bytes: readonly number[], budget: number): number[][] {
  const groups: number[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const [index, size] of bytes.entries()) {
    if (used + size > budget) {
      groups.push([]);
      used = 0;
    }
    groups.at(-1)?.push(index);
    used += size;
  }
  return groups;
}

/** Where a comparison of quality is at. */
export type QualityTask = {
  readonly config: Config;
  readonly reference: Contender;
  readonly candidates: readonly Contender[];
  readonly windows: readonly Int32Array[];
  readonly windowTokens: number;
  readonly protocol: Protocol;
};

/** With room for a window, and for the texts that are written side by side. */
function open({ config, windowTokens }: QualityTask, { changes }: Contender): Promise<OpenedModel> {
  const textTokens = GREEDY_PROMPT_TOKENS + GREEDY_TOKENS;
  const kvTokens = Math.max(windowTokens, GREEDY_PROMPTS * textTokens) + KV_BLOCK_TOKENS;
  return openForEval(config, Math.max(windowTokens, textTokens), changes, { kvTokens, maxSequences: GREEDY_PROMPTS });
}

/** Bytes that a model will take about, weights and cache. */
async function sizeOf({ config, windowTokens }: QualityTask, { changes }: Contender): Promise<number> {
  const { prepareModel } = await import('../../../engine/open.js');
  return (await prepareModel(evalOptions(config, windowTokens, changes))).bytes;
}

/**
 * Measures every candidate, in their order. Models of a group are in memory together and share one pass of the
 * reference; there is one group unless memory is short.
 */
export async function measureQuality(task: QualityTask, progress: Progress): Promise<Quality[]> {
  const reference = await open(task, task.reference);
  const measured: Quality[] = [];
  try {
    const sizes = await Promise.all(task.candidates.map((candidate) => sizeOf(task, candidate)));
    const available = Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);
    const groups = groupBySize(sizes, available - MEMORY_RESERVE_BYTES);
    for (const [index, group] of groups.entries()) {
      const label = groups.length > 1 ? `quality, group ${index + 1} of ${groups.length}` : 'quality';
      progress.start(label, task.windows.length);
      const members = group.flatMap((member) => task.candidates[member] ?? []);
      measured.push(...(await measureGroup(task, reference, members, (done) => progress.update(done))));
    }
  } finally {
    await reference.close();
  }
  return measured;
}

async function measureGroup(
  task: QualityTask,
  reference: OpenedModel,
  members: readonly Contender[],
  onWindow: (done: number) => void,
): Promise<Quality[]> {
  const candidates: OpenedModel[] = [];
  try {
    for (const member of members) candidates.push(await open(task, member));
    const { windows, protocol } = task;
    const agreements = await measureAgreement(reference, candidates, windows, protocol, onWindow);
    const prompts = choosePrompts(windows);
    const theirs = await writeGreedily(reference.nativeModel, prompts, GREEDY_TOKENS);
    const layerErrors = await measureLayerErrors(reference, candidates, windows.slice(0, LAYER_WINDOWS));
    const measured: Quality[] = [];
    for (const [i, { nativeModel }] of candidates.entries()) {
      const agreement = agreements[i];
      if (agreement === undefined) continue;
      const ours = await writeGreedily(nativeModel, prompts, GREEDY_TOKENS);
      const lengths = ours.map((text, prompt) => commonTokens(text, theirs[prompt] ?? []));
      const greedyTokens = { median: quantile(lengths, 0.5), min: Math.min(...lengths) };
      measured.push({
        agreement,
        greedyTokens,
        layerErrors: layerErrors[i] ?? null,
        packedBytes: nativeModel.info.packedBytes,
      });
    }
    return measured;
  } finally {
    for (const candidate of candidates) await candidate.close();
  }
}
