/** Multiple-choice tasks: their file, and how a choice becomes tokens to score. */
import { NibbleError } from '../../errors.js';
import type { Tokenizer } from '../../model/types.js';
import { type JsonLine, jsonLines } from '../json-lines.js';
import { readText } from './data.js';

/** A text, continuations of it exactly as they are appended, and the index of the right one. */
export type ChoiceTask = { readonly context: string; readonly choices: readonly string[]; readonly answer: number };

/** Choices of one task: more than any usual benchmark has. */
const CHOICES_MAX = 64;

const isText = (value: unknown): value is string => typeof value === 'string' && value.trim() !== '';

function readTask({ fields, fail }: JsonLine): ChoiceTask {
  const { context, choices, answer } = fields;
  if (!isText(context)) throw fail('needs "context": a text that is not empty');
  if (!Array.isArray(choices) || choices.length < 2 || choices.length > CHOICES_MAX || !choices.every(isText)) {
    throw fail(`needs "choices": 2 to ${CHOICES_MAX} texts that are not empty`);
  }
  if (typeof answer !== 'number' || !Number.isInteger(answer) || answer < 0 || answer >= choices.length) {
    throw fail('needs "answer": the index of one of the choices');
  }
  return { context, choices, answer };
}

/** Lines `{"context", "choices", "answer"}`; empty lines are skipped. Throws `data_invalid` with the line. */
export async function readChoiceTasks(path: string): Promise<ChoiceTask[]> {
  const tasks = Array.from(jsonLines(await readText(path), path, 'data'), readTask);
  if (tasks.length === 0) throw new NibbleError('data_too_short', { path, tokens: 0, neededTokens: 2 });
  return tasks;
}

/** Tokens of a context and one choice; those from `firstScored` on belong to the choice. */
export type ChoiceTokens = { readonly tokens: Int32Array; readonly firstScored: number };

/**
 * Both texts are encoded together, as a model would read them. A space at the end of the context is the choice's,
 * for tokenizers join it to the next word; what is scored begins with the first token that the context alone doesn't
 * have there, as the field's harness does it (lm-evaluation-harness, `_encode_pair`).
 */
export function encodeChoice(tokenizer: Tokenizer, context: string, choice: string): ChoiceTokens {
  const options = { addSpecialTokens: true, parseSpecial: false };
  const tokens = tokenizer.encode(context + choice, options);
  const alone = tokenizer.encode(context.trimEnd(), options);
  const differing = alone.findIndex((id, i) => id !== tokens[i]);
  const common = differing < 0 ? alone.length : differing;
  // The first token of a sequence has nothing before it that could predict it.
  return { tokens, firstScored: Math.min(Math.max(common, 1), tokens.length - 1) };
}
