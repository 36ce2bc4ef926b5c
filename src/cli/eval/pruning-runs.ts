/** What token pruning does to predictions: the same suffix and the same questions behind contexts that lose tokens. */
import { fitsLayers, planPruning, prunedTokens, pruningSpec } from '../../engine/pruning.js';
import { configInvalid } from '../../errors.js';
import { PRUNING_WINDOW_TOKENS } from '../../limits.js';
import type { Tokenizer } from '../../model/types.js';
import type { NativeModel } from '../../native/contract.js';
import { argmax } from './divergence.js';
import { scoreSequence } from './session.js';
import { LossMeter, type Perplexity } from './windows.js';

/** `recent`: the context's end only, in all layers. */
export type Selection = 'all' | 'importance' | 'random' | 'recent';
export type Way = { readonly selection: Selection; readonly keep: number };
export type Places = { readonly layers: number; readonly afterLayer: number; readonly stages: number };

/** Every share below 1 by every selection, after one run that loses nothing. */
export function waysOf(keeps: readonly number[]): readonly Way[] {
  const selections = ['importance', 'random', 'recent'] as const;
  const pruned = keeps
    .filter((keep) => keep < 1)
    .flatMap((keep) => selections.map((selection) => ({ selection, keep })));
  return [{ selection: 'all', keep: 1 }, ...pruned];
}

/** A sequence as a way has it: fewer tokens, or the same ones with some dropped from the first `context` of them. */
function applied(tokens: Int32Array, context: number, { selection, keep }: Way, { layers, ...where }: Places) {
  if (selection === 'all') return { tokens, first: context };
  const plan = fitsLayers({ keep, ...where }, layers) ? planPruning({ keep, ...where }, layers) : null;
  if (plan === null) throw configInvalid('keeps', 'nothing would be dropped');
  if (prunedTokens(plan, context) === 0) {
    throw configInvalid('window', 'too short: nothing would be dropped');
  }
  if (selection === 'recent') {
    const left = context - prunedTokens(plan, context);
    return { tokens: tokens.subarray(context - left), first: left };
  }
  return { tokens, first: context, pruning: { ...pruningSpec(plan, context), isRandom: selection === 'random' } };
}

/** What a way costs: perplexity, and the mean loss of each window, nats, for comparisons in pairs. */
export type SuffixLoss = Perplexity & { readonly windowLosses: readonly number[] };

/** The mean difference of two ways over the same windows, nats, and its error: far smaller than those of the losses. */
export function pairedExcess(ours: readonly number[], theirs: readonly number[]): { excess: number; error: number } {
  const differences = ours.map((loss, i) => loss - (theirs[i] ?? Number.NaN));
  const count = differences.length;
  const excess = differences.reduce((sum, value) => sum + value, 0) / count;
  const squares = differences.reduce((sum, value) => sum + (value - excess) ** 2, 0);
  return { excess, error: count > 1 ? Math.sqrt(squares / (count - 1) / count) : 0 };
}

/** Perplexity of what stands behind the first `context` tokens of each window, but for the first token there. */
export async function suffixPerplexity(
  model: NativeModel,
  windows: readonly Int32Array[],
  context: number,
  way: Way,
  places: Places,
): Promise<SuffixLoss> {
  const meter = new LossMeter();
  const windowLosses: number[] = [];
  for (const window of windows) {
    const own = new LossMeter();
    const { tokens, first, pruning } = applied(window, context, way, places);
    const scored = scoreSequence(model, tokens, first, { wantLogprobs: true }, pruning);
    for await (const { rows, result } of scored) {
      for (let row = 0; row < rows; ++row) {
        const loss = -(result.logprobs[row] ?? Number.NaN);
        meter.add(loss);
        own.add(loss);
      }
    }
    windowLosses.push(Math.log(own.result().perplexity));
  }
  return { ...meter.result(), windowLosses };
}

/** A text in whose first quarter facts stand, and a question behind it; the last token is the answer's first. */
export type Question = { readonly tokens: Int32Array; readonly answers: Int32Array; readonly answer: number };

const names = ['Anna', 'Boris', 'Clara', 'David', 'Emma', 'Frank'];
const words = ['river', 'mountain', 'garden', 'window', 'silver', 'horse', 'bridge', 'candle', 'forest', 'paper'];
const factsPerText = 3;

/** Question `index` of a text of `length` tokens: three people's code words between its sentences, and one is asked. */
export function makeQuestion(tokenizer: Tokenizer, text: Int32Array, length: number, index: number): Question {
  const encode = (part: string) => tokenizer.encode(part, { addSpecialTokens: false, parseSpecial: false });
  const pick = (list: readonly string[], at: number) => list[at % list.length] ?? '';
  const facts = Array.from({ length: factsPerText }, (_, i) => ({
    name: pick(names, index + 2 * i),
    word: pick(words, 3 * index + 2 * i),
  }));
  const asked = facts[index % factsPerText] ?? { name: '', word: '' };
  const end = encode(
    `\n\nQuestion: What is the code word of ${asked.name}?\nAnswer: The code word of ${asked.name} is`,
  );
  const lines = facts.map(({ name, word }) => encode(`\n\nNote: The code word of ${name} is ${word}.\n\n`));
  const filler = length - 1 - end.length - lines.reduce((sum, line) => sum + line.length, 0);
  const parts: Int32Array[] = [];
  let at = 0;
  for (const [i, line] of lines.entries()) {
    // In the second sixteenth, the third, the fourth: all within the first quarter.
    const next = Math.floor(((i + 1) * length) / 16);
    parts.push(text.subarray(at, next), line);
    at = next;
  }
  const answers = Int32Array.from(words, (word) => encode(` ${word}`)[0] ?? 0);
  const answer = words.indexOf(asked.word);
  parts.push(text.subarray(at, filler), end, Int32Array.of(answers[answer] ?? 0));
  const tokens = new Int32Array(length);
  let to = 0;
  for (const part of parts) {
    tokens.set(part, to);
    to += part.length;
  }
  return { tokens, answers, answer };
}

/** Share of questions whose answer is the likeliest of all code words. */
export async function recall(
  model: NativeModel,
  questions: readonly Question[],
  vocab: number,
  way: Way,
  places: Places,
): Promise<number> {
  let right = 0;
  for (const { tokens: asked, answers, answer } of questions) {
    const last = asked.length - 2;
    const context = Math.floor(last / PRUNING_WINDOW_TOKENS) * PRUNING_WINDOW_TOKENS;
    const { tokens, pruning } = applied(asked, context, way, places);
    const scored = scoreSequence(model, tokens, tokens.length - 2, { wantLogits: true }, pruning);
    for await (const { result } of scored) {
      const row = (result.logits ?? new Float32Array(0)).subarray(0, vocab);
      if (argmax(Float32Array.from(answers, (id) => row[id] ?? Number.NaN)) === answer) right += 1;
    }
  }
  return right / questions.length;
}
