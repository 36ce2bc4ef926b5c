/** What a model is calibrated on: windows of a text, or of what the model writes itself. */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { OpenedModel } from '../engine/open-types.js';
import type { GenerationRequest } from '../engine/types.js';
import { NibbleError, reasonOf } from '../errors.js';
import type { Recipe } from '../model/recipe-types.js';
import type { Tokenizer } from '../model/types.js';
import { Random } from '../random.js';

export type CalibrationText = {
  readonly windows: readonly Int32Array[];
  /** Of the text's file, or of the ids that the model wrote (32-bit, little-endian); hexadecimal. */
  readonly sha256: string;
};

type Settings = Recipe['calibration'];

/** Windows spread evenly over the ids: all of them if there aren't more. */
function spreadWindows(ids: Int32Array, { tokens, window }: Pick<Settings, 'tokens' | 'window'>): Int32Array[] {
  const available = Math.floor(ids.length / window);
  const wanted = Math.min(available, Math.max(1, Math.floor(tokens / window)));
  return Array.from({ length: wanted }, (_, i) => {
    const start = Math.floor((i * available) / wanted) * window;
    return ids.slice(start, start + window);
  });
}

/** Throws `data_unreadable`, `data_too_short`. */
export async function textWindows(path: string, tokenizer: Tokenizer, settings: Settings): Promise<CalibrationText> {
  const bytes = await readFile(path).catch((cause: Error) => {
    throw new NibbleError('data_unreadable', { path, message: reasonOf(cause) }, { param: 'calibration', cause });
  });
  const ids = tokenizer.encode(bytes.toString('utf8'), { addSpecialTokens: true, parseSpecial: false });
  const windows = spreadWindows(ids, settings);
  if (windows.length === 0) {
    const needed = { path, tokens: ids.length, neededTokens: settings.window };
    throw new NibbleError('data_too_short', needed, { param: 'calibration' });
  }
  return { windows, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Tokens of texts as people write them: neither control tokens nor bytes that aren't whole characters. */
function plainTokens(tokenizer: Tokenizer): number[] {
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  return ids.filter((id) => /^[\s\p{L}\p{N}]+$/u.test(tokenizer.decode([id])));
}

/**
 * The model continues single tokens, drawn at random, as it likes (temperature 1, no filter): texts as it has learned
 * them, without any being needed. The idea is that of LLM-QAT (arXiv 2305.17888, section 2.1). The seed decides every
 * token: results don't depend on batches or threads.
 */
export async function selfWindows(
  { engine, tokenizer }: Pick<OpenedModel, 'engine' | 'tokenizer'>,
  { tokens, window, seed }: Settings,
  onWindow: (done: number) => void = () => {},
  signal: AbortSignal = new AbortController().signal,
): Promise<CalibrationText> {
  const random = new Random(seed);
  const starts = plainTokens(tokenizer);
  if (starts.length === 0) starts.push(0);
  const count = Math.max(1, Math.floor(tokens / window));
  const windows: Int32Array[] = [];
  let done = 0;
  const requests = Array.from({ length: count }, (_, index): GenerationRequest => {
    const first = starts[random.below(starts.length)] ?? 0;
    const promptIds = tokenizer.bosId === null ? Int32Array.of(first) : Int32Array.of(tokenizer.bosId, first);
    return {
      promptIds,
      maxTokens: window - promptIds.length,
      sampling: { ...writing, seed: BigInt(seed), choice: index },
      ...{ stop: [], logprobs: null, scorePrompt: false, ignoreEos: true },
      onEnd: (_summary, generated) => {
        windows[index] = Int32Array.from([...promptIds, ...generated]);
        onWindow(++done);
      },
    };
  });
  // Submitted one by one: a queue has its bound.
  const waiting = requests.values();
  setMaxListeners(0, signal);
  const writeOn = async (): Promise<void> => {
    for (const request of waiting) {
      for (const generation of engine.submit([request], signal)) for await (const _event of generation);
    }
  };
  await Promise.all(Array.from({ length: 16 }, writeOn));
  signal.throwIfAborted();
  const hash = createHash('sha256');
  for (const ids of windows) hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  return { windows, sha256: hash.digest('hex') };
}

const writing = {
  ...{ temperature: 1, topK: 0, topP: 1, minP: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
  ...{ biasIds: new Int32Array(0), biasValues: new Float32Array(0) },
};
