import { NibbleError } from '../../errors.js';
import { INLINE_TOKENIZE_BYTES_MAX } from '../../limits.js';
import type { CompletionRequest } from '../schemas/completion-request.js';
import type { ServedModel } from '../served-model.js';

/** One prompt as ids; `text` is what `echo` returns, known only for prompts that came as text. */
export type Prompt = { readonly ids: Int32Array; readonly text: string | null };

type PromptList =
  | { readonly kind: 'texts'; readonly texts: readonly string[] }
  | { readonly kind: 'ids'; readonly lists: readonly (readonly number[])[] };

/** The four forms of `prompt` as two. The schema has made sure that arrays hold one kind of thing. */
export function promptList(prompt: CompletionRequest['prompt']): PromptList {
  if (typeof prompt === 'string') return { kind: 'texts', texts: [prompt] };
  const texts: string[] = [];
  const lists: number[][] = [];
  const single: number[] = [];
  for (const item of prompt) {
    if (typeof item === 'string') texts.push(item);
    else if (typeof item === 'number') single.push(item);
    else lists.push(item);
  }
  if (texts.length > 0) return { kind: 'texts', texts };
  return { kind: 'ids', lists: lists.length > 0 ? lists : [single] };
}

const invalidPrompt = (message: string) => new NibbleError('invalid_request', { message }, { param: 'prompt' });

function checkedIds(ids: readonly number[], vocabSize: number): Int32Array {
  for (const id of ids) {
    if (id >= vocabSize) throw invalidPrompt(`'prompt' holds the token id ${id}; the vocabulary has ${vocabSize}.`);
  }
  return Int32Array.from(ids);
}

/** A text that gives no token at all starts from the BOS token, if there is one: a model needs something to go on. */
function startIfEmpty(ids: Int32Array, bosId: number | null): Int32Array {
  if (ids.length > 0) return ids;
  if (bosId === null) throw invalidPrompt("'prompt' has no tokens, and this model has no token to start from.");
  return Int32Array.of(bosId);
}

/**
 * Prompts as token ids: texts get the model's special tokens added and parsed, ids are checked against the
 * vocabulary. Texts that together exceed INLINE_TOKENIZE_BYTES_MAX are encoded off the event loop.
 * Throws `invalid_request`.
 */
export async function encodePrompts(prompts: PromptList, model: ServedModel): Promise<readonly Prompt[]> {
  const { tokenizer } = model;
  if (prompts.kind === 'ids') {
    return prompts.lists.map((ids) => ({ ids: checkedIds(ids, tokenizer.vocabSize), text: null }));
  }
  const totalBytes = prompts.texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const isLong = totalBytes > INLINE_TOKENIZE_BYTES_MAX;
  const encoded: Prompt[] = [];
  for (const text of prompts.texts) {
    const ids = isLong
      ? await model.encodeLong(text)
      : tokenizer.encode(text, { addSpecialTokens: true, parseSpecial: true });
    encoded.push({ ids: startIfEmpty(ids, tokenizer.bosId), text });
  }
  return encoded;
}
