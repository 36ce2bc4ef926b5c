/** The user's own prompts: lines of JSON, hostile until they are checked. They never leave this machine. */
import { NibbleError } from '../../errors.js';
import { STOP_STRING_LENGTH_MAX, STOP_STRINGS_MAX } from '../../limits.js';
import type { ChatTemplate } from '../../model/chat-template/index.js';
import type { Tokenizer } from '../../model/types.js';
import { type JsonLine, jsonLines, type LineFail } from '../json-lines.js';

type Message = { readonly role: string; readonly content: string };

export type Prompt = {
  /** In the file, from 1. */
  readonly line: number;
  readonly input: string | readonly Message[];
  readonly maxTokens: number | null;
  readonly stop: readonly string[];
  /** Texts that are right; empty: not known. */
  readonly answers: readonly string[];
};

/** A prompt as a model gets it. */
export type ReadyPrompt = Prompt & { readonly ids: Int32Array; readonly tokensMax: number };

/** Each prompt is answered by every candidate, and its tokens are compared. */
const PROMPTS_MAX = 10_000;
const MESSAGES_MAX = 1000;
const ANSWERS_MAX = 64;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';

function readMessage(value: unknown, fail: LineFail): Message {
  const { role, content } = (typeof value === 'object' ? (value ?? {}) : {}) as Readonly<Record<string, unknown>>;
  if (isText(role) && typeof content === 'string') return { role, content };
  throw fail('every message needs "role" and "content": texts');
}

function readInput({ prompt, messages }: Readonly<Record<string, unknown>>, fail: LineFail): Prompt['input'] {
  if ((prompt === undefined) === (messages === undefined)) throw fail('needs "prompt" or "messages", one of them');
  if (messages === undefined) {
    if (isText(prompt)) return prompt;
    throw fail('"prompt" must be a text that is not empty');
  }
  if (!Array.isArray(messages) || messages.length === 0 || messages.length > MESSAGES_MAX) {
    throw fail(`"messages" must be a list of 1 to ${MESSAGES_MAX}`);
  }
  return messages.map((message: unknown) => readMessage(message, fail));
}

/** A text, or a list of them; absent: none. */
function readTexts(value: unknown, name: string, countMax: number, fail: LineFail): string[] {
  if (value === undefined || value === null) return [];
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (texts.length <= countMax && texts.every(isText)) return [...texts] as string[];
  throw fail(`"${name}" must be a text that is not empty, or up to ${countMax} of them`);
}

function readPrompt({ number, fields, fail }: JsonLine): Prompt {
  const { max_tokens: maxTokens = null } = fields;
  const isCount = typeof maxTokens === 'number' && Number.isSafeInteger(maxTokens) && maxTokens >= 1;
  if (maxTokens !== null && !isCount) throw fail('"max_tokens" must be an integer, 1 or more');
  const stop = readTexts(fields.stop, 'stop', STOP_STRINGS_MAX, fail);
  if (stop.some(({ length }) => length > STOP_STRING_LENGTH_MAX)) {
    throw fail(`a stop string may have ${STOP_STRING_LENGTH_MAX} characters`);
  }
  const answers = readTexts(fields.answer, 'answer', ANSWERS_MAX, fail);
  return { line: number, input: readInput(fields, fail), maxTokens: isCount ? maxTokens : null, stop, answers };
}

/**
 * Lines of `{"prompt"}` or `{"messages"}`, with `max_tokens`, `stop` and `answer` if they like; other fields are left
 * alone, and so are empty lines. Throws `data_invalid` with the line, never with what stands in it.
 */
export function parsePrompts(text: string, path: string): Prompt[] {
  const prompts: Prompt[] = [];
  for (const line of jsonLines(text, path, 'prompts')) {
    if (prompts.length === PROMPTS_MAX) throw line.fail(`there are more than ${PROMPTS_MAX} prompts`);
    prompts.push(readPrompt(line));
  }
  if (prompts.length > 0) return prompts;
  throw new NibbleError('data_invalid', { path, line: 1, message: 'there is no prompt' }, { param: 'prompts' });
}

type Reader = { readonly tokenizer: Tokenizer; readonly chatTemplate: ChatTemplate | null };

async function encode({ input }: Prompt, { tokenizer, chatTemplate }: Reader): Promise<Int32Array> {
  if (typeof input === 'string') return tokenizer.encode(input, { addSpecialTokens: true, parseSpecial: true });
  if (chatTemplate === null) throw new NibbleError('chat_template_missing', {});
  const text = await chatTemplate.render({ messages: input, add_generation_prompt: true });
  return tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: true });
}

/** Tokens of every prompt, as the server would make them. Throws `data_invalid` for one that has no room. */
export async function readyPrompts(
  prompts: readonly Prompt[],
  reader: Reader,
  limits: { readonly path: string; readonly tokensMax: number; readonly contextTokens: number },
): Promise<ReadyPrompt[]> {
  const ready: ReadyPrompt[] = [];
  for (const prompt of prompts) {
    const ids = await encode(prompt, reader);
    const tokensMax = prompt.maxTokens ?? limits.tokensMax;
    const { path, contextTokens } = limits;
    if (ids.length === 0 || ids.length + tokensMax > contextTokens) {
      const message = `${ids.length} tokens and an answer of ${tokensMax}: the models read 1 to ${contextTokens} together`;
      throw new NibbleError('data_invalid', { path, line: prompt.line, message }, { param: 'prompts' });
    }
    ready.push({ ...prompt, ids, tokensMax });
  }
  return ready;
}
