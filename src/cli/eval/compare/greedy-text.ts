/** How long a candidate writes the same text as the reference. */
import type { OpenedModel } from '../../../engine/open-types.js';
import { STEP_TOKENS_MAX } from '../../../limits.js';
import { nativeCall } from '../../bench/native-call.js';
import { Stepper } from '../../bench/stepper.js';

/** Prompts, their length and what is written after each, tokens. */
export const GREEDY_PROMPTS = 8;
export const GREEDY_PROMPT_TOKENS = 32;
export const GREEDY_TOKENS = 64;

/** Beginnings of windows spread over the data. */
export function choosePrompts(windows: readonly Int32Array[]): Int32Array[] {
  const count = Math.min(GREEDY_PROMPTS, windows.length);
  const prompts = Array.from({ length: count }, (_, i) => windows[Math.floor((i * windows.length) / count)]);
  return prompts.flatMap((window) => (window === undefined ? [] : [window.subarray(0, GREEDY_PROMPT_TOKENS)]));
}

/** What a model writes greedily after each prompt, `tokens` each; ends of text are tokens like others. */
export async function writeGreedily(
  model: OpenedModel['nativeModel'],
  prompts: readonly Int32Array[],
  tokens: number,
): Promise<number[][]> {
  const stepper = new Stepper(model);
  const sequences = prompts.map((prompt) => stepper.open(prompt.length + tokens));
  try {
    return await nativeCall(async () => {
      const first: number[] = [];
      for (const [i, sequence] of sequences.entries()) {
        first.push(await stepper.prefill(sequence, prompts[i] ?? new Int32Array(0), STEP_TOKENS_MAX, true));
      }
      const steps = await stepper.decode(sequences, first, tokens - 1);
      return first.map((token, i) => [token, ...steps.map((step) => step[i] ?? -1)]);
    });
  } finally {
    stepper.closeAll(sequences);
  }
}

/** Tokens before the first that differs; all of them if none does. */
export function commonTokens(ours: readonly number[], theirs: readonly number[]): number {
  const differing = ours.findIndex((token, i) => token !== theirs[i]);
  return differing < 0 ? ours.length : differing;
}
