/** How far candidates are from the baseline on the user's prompts. */
import { freemem } from 'node:os';
import type { Config } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { PRUNING_WINDOW_TOKENS } from '../../limits.js';
import type { Progress } from '../bench/progress.js';
import type { Contender } from '../eval/compare/candidates.js';
import { commonTokens } from '../eval/compare/greedy-text.js';
import { groupBySize } from '../eval/compare/quality.js';
import { type Agreement, measureSequences, type ScoredSequence } from '../eval/scorer.js';
import { evalOptions, openForEval } from '../eval/session.js';
import type { ReadyPrompt } from './prompts.js';
import type { Answer } from './replay.js';

/** Memory left alone beside the models. */
const RESERVE_BYTES = 1e9;

/** The baseline's answers behind their prompts: what every model reads. Answers of no token have nothing to score. */
export function forcedSequences(prompts: readonly ReadyPrompt[], answers: readonly Answer[]): ScoredSequence[] {
  return prompts.flatMap(({ ids }, i): ScoredSequence[] => {
    const answer = answers[i]?.tokenIds ?? [];
    if (answer.length === 0) return [];
    // The row before a token predicts it: that of the last prompt token is the first that counts. Where it ends a
    // window that may be pruned, a step can't begin with it.
    const firstRow = ids.length % PRUNING_WINDOW_TOKENS === 0 ? ids.length : ids.length - 1;
    return [{ tokens: Int32Array.from([...ids, ...answer]), firstRow, promptTokens: ids.length }];
  });
}

export type ForcedTask = {
  readonly config: Config;
  readonly baseline: Contender;
  readonly candidates: readonly Contender[];
  readonly sequences: readonly ScoredSequence[];
};

async function measureGroup(
  { config, sequences }: ForcedTask,
  tokensMax: number,
  baseline: OpenedModel,
  members: readonly Contender[],
  onSequence: (done: number) => void,
): Promise<Agreement[]> {
  const opened: OpenedModel[] = [];
  try {
    for (const { changes } of members) opened.push(await openForEval(config, tokensMax, changes));
    return await measureSequences(baseline, opened, sequences, onSequence);
  } finally {
    for (const model of opened) await model.close();
  }
}

/** Teacher forcing: all models read the baseline's answers, as many of them in memory as fit. */
export async function measureForced(task: ForcedTask, progress: Progress): Promise<Agreement[]> {
  const { config, baseline, candidates, sequences } = task;
  const { prepareModel } = await import('../../engine/open.js');
  const tokensMax = Math.max(...sequences.map(({ tokens }) => tokens.length));
  const sizes: number[] = [];
  for (const { changes } of candidates) {
    sizes.push((await prepareModel(evalOptions(config, tokensMax, changes))).bytes);
  }
  const reference = await openForEval(config, tokensMax, baseline.changes);
  const measured: Agreement[] = [];
  try {
    const free = Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);
    for (const group of groupBySize(sizes, free - RESERVE_BYTES)) {
      progress.start('comparing predictions', sequences.length);
      const members = group.flatMap((index) => candidates[index] ?? []);
      const update = (done: number) => progress.update(done);
      measured.push(...(await measureGroup(task, tokensMax, reference, members, update)));
    }
  } finally {
    await reference.close();
  }
  return measured;
}

/** Of free answers: how many are the same, and how long they are. */
export type TextAgreement = {
  /** Share of the prompts whose answer has the same tokens. */
  readonly sameAnswers: number;
};

export function compareTexts(answers: readonly Answer[], baseline: readonly Answer[]): TextAgreement {
  const same = answers.filter(({ tokenIds }, i) => {
    const theirs = baseline[i]?.tokenIds ?? [];
    return tokenIds.length === theirs.length && commonTokens(tokenIds, theirs) === theirs.length;
  });
  return { sameAnswers: same.length / answers.length };
}

/** Against the answers that the user gave. */
export type ExactMatch = {
  /** Prompts that have an answer, and those answered with exactly it, spaces around it aside. */
  readonly prompts: number;
  readonly right: number;
  /** Right with the baseline and wrong now; the other way round. */
  readonly lost: number;
  readonly gained: number;
};

const isRight = ({ answers }: ReadyPrompt, answer: Answer | undefined): boolean =>
  answers.some((text) => text.trim() === answer?.text.trim());

/** null if no prompt has an answer. */
export function matchAnswers(
  prompts: readonly ReadyPrompt[],
  answers: readonly Answer[],
  baseline: readonly Answer[],
): ExactMatch | null {
  const known = [...prompts.entries()].filter(([, { answers: texts }]) => texts.length > 0);
  if (known.length === 0) return null;
  const judged = known.map(([i, prompt]) => ({
    ours: isRight(prompt, answers[i]),
    theirs: isRight(prompt, baseline[i]),
  }));
  return {
    prompts: known.length,
    right: judged.filter(({ ours }) => ours).length,
    lost: judged.filter(({ ours, theirs }) => theirs && !ours).length,
    gained: judged.filter(({ ours, theirs }) => ours && !theirs).length,
  };
}
