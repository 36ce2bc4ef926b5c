import { NibbleError } from '../../errors.js';
import { checkedIds, encodeTexts, promptOptions } from '../generation/encode.js';
import type { CompletionRequest } from '../schemas/completion-request.js';
import type { ServedModel } from '../served-model.js';

/** One prompt as ids; `text` is what `echo` returns, known only for prompts that came as text. */
export type Prompt = { readonly ids: Int32Array; readonly text: string | null };

export type PromptList =
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

/** A text that gives no token at all starts from the BOS token, if there is one: a model needs something to go on. */
function startIfEmpty(ids: Int32Array, bosId: number | null): Int32Array {
  if (ids.length > 0) return ids;
  const message = "'prompt' has no tokens, and this model has no token to start from.";
  if (bosId === null) throw new NibbleError('invalid_request', { message }, { param: 'prompt' });
  return Int32Array.of(bosId);
}

/**
 * Prompts as token ids: texts get the model's special tokens added and parsed, ids are checked against the
 * vocabulary. Throws `invalid_request`.
 */
export async function encodePrompts(prompts: PromptList, model: ServedModel): Promise<readonly Prompt[]> {
  const { vocabSize, bosId } = model.tokenizer;
  if (prompts.kind === 'ids') {
    return prompts.lists.map((ids) => ({ ids: checkedIds(ids, vocabSize, 'prompt'), text: null }));
  }
  const encoded = await encodeTexts(prompts.texts, model, promptOptions);
  return encoded.map((ids, index) => ({ ids: startIfEmpty(ids, bosId), text: prompts.texts[index] ?? null }));
}

const plainText = { addSpecialTokens: false, parseSpecial: false } as const;

/**
 * Prompts for a model that fills the gap before `suffix`: prefix token, text before, suffix token, text after, middle
 * token (the order that such models are trained with most). The texts are code: what looks like a special token in
 * them is text. Throws `unsupported_parameter` if the model has no such tokens.
 */
export async function encodeInfill(list: PromptList, suffix: string, model: ServedModel): Promise<readonly Prompt[]> {
  const { infill, tokenizer } = model;
  if (infill === null) {
    const message = "the model has no tokens for filling a gap; leave 'suffix' out, or serve a model that has them.";
    throw new NibbleError('unsupported_parameter', { parameter: 'suffix', message }, { param: 'suffix' });
  }
  const [after = new Int32Array(0)] = await encodeTexts([suffix], model, plainText);
  const before =
    list.kind === 'texts'
      ? await encodeTexts(list.texts, model, plainText)
      : list.lists.map((ids) => checkedIds(ids, tokenizer.vocabSize, 'prompt'));
  const [first] = tokenizer.encode('', promptOptions);
  const start = first !== undefined && first === tokenizer.bosId ? [first] : [];
  return before.map((ids) => ({
    ids: Int32Array.from([...start, infill.prefixId, ...ids, infill.suffixId, ...after, infill.middleId]),
    text: null,
  }));
}
