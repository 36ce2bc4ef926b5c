import { randomBytes } from 'node:crypto';
import type { GenerationRequest, SamplingRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import { LOGIT_BIAS_MAX, SEQUENCES_PER_REQUEST_MAX } from '../../limits.js';
import { type CompletionRequest, completionDefaults } from '../schemas/completion-request.js';
import type { ServedModel } from '../served-model.js';
import { encodePrompts, type Prompt, promptList } from './prompts.js';

/** A request understood: what to generate and how to answer. Choice c continues prompt ⌊c / n⌋. */
export type CompletionPlan = {
  readonly prompts: readonly Prompt[];
  readonly n: number;
  /** One per choice, in the order of the choices. */
  readonly requests: readonly GenerationRequest[];
  readonly echo: boolean;
  readonly includeUsage: boolean;
};

const invalid = (param: string, message: string) => new NibbleError('invalid_request', { message }, { param });
const unsupported = (parameter: string, message: string) =>
  new NibbleError('unsupported_parameter', { parameter, message }, { param: parameter });

/** Rules that join several fields, which the schema can't say. */
function checkCombinations(body: CompletionRequest, promptCount: number, n: number): void {
  if (body.suffix) throw unsupported('suffix', 'this server does not insert text before a suffix.');
  const bestOf = body.best_of ?? n;
  if (bestOf < n) throw invalid('best_of', `'best_of' is ${bestOf}; it must be at least 'n', which is ${n}.`);
  if (bestOf > n) throw unsupported('best_of', "values above 'n' are not available; ask for more choices with 'n'.");
  if (body.stream_options != null && body.stream !== true) {
    throw invalid('stream_options', "'stream_options' is allowed only together with 'stream': true.");
  }
  if (promptCount * n > SEQUENCES_PER_REQUEST_MAX) {
    const message = `${promptCount} prompts with n = ${n} make ${promptCount * n} sequences; `;
    throw invalid(n > 1 ? 'n' : 'prompt', `${message}at most ${SEQUENCES_PER_REQUEST_MAX} are allowed in a request.`);
  }
}

function readLogitBias(
  bias: Readonly<Record<string, number>>,
  vocabSize: number,
): { ids: Int32Array; values: Float32Array } {
  const entries = Object.entries(bias);
  if (entries.length > LOGIT_BIAS_MAX) {
    throw invalid('logit_bias', `'logit_bias' has ${entries.length} entries; at most ${LOGIT_BIAS_MAX} are allowed.`);
  }
  const ids = entries.map(([key]) => {
    const id = /^(0|[1-9]\d{0,9})$/.test(key) ? Number(key) : Number.POSITIVE_INFINITY;
    if (id < vocabSize) return id;
    const shown = JSON.stringify(key.slice(0, 32));
    throw invalid('logit_bias', `'logit_bias' has the key ${shown}; keys are token ids below ${vocabSize}.`);
  });
  return { ids: Int32Array.from(ids), values: Float32Array.from(entries, ([, value]) => value) };
}

/** Uniform over all 64-bit seeds: without a seed two equal requests should differ. */
const randomSeed = (): bigint => randomBytes(8).readBigUInt64LE();

function readSampling(body: CompletionRequest, vocabSize: number): Omit<SamplingRequest, 'choice'> {
  const defaults = completionDefaults;
  const bias = readLogitBias(body.logit_bias ?? {}, vocabSize);
  return {
    temperature: body.temperature ?? defaults.temperature,
    topK: Math.min(Math.max(body.top_k ?? defaults.topK, 0), vocabSize),
    topP: body.top_p ?? defaults.topP,
    minP: body.min_p ?? defaults.minP,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    repetitionPenalty: body.repetition_penalty ?? defaults.repetitionPenalty,
    seed: body.seed == null ? randomSeed() : BigInt.asUintN(64, BigInt(body.seed)),
    biasIds: bias.ids,
    biasValues: bias.values,
  };
}

/**
 * Turns a body that fits the schema into sequences. Choices of one prompt differ by their index within the prompt, so
 * a prompt with a seed gives the same text alone and beside others.
 * Throws `model_not_found`, `unsupported_parameter`, `invalid_request`.
 */
export async function planCompletion(body: CompletionRequest, model: ServedModel): Promise<CompletionPlan> {
  if (body.model !== model.id && body.model !== 'default') {
    const parameters = { model: body.model.slice(0, 128), available: [model.id] };
    throw new NibbleError('model_not_found', parameters, { param: 'model' });
  }
  const n = body.n ?? completionDefaults.n;
  const list = promptList(body.prompt);
  checkCombinations(body, list.kind === 'texts' ? list.texts.length : list.lists.length, n);
  const sampling = readSampling(body, model.tokenizer.vocabSize);
  const prompts = await encodePrompts(list, model);
  const echo = body.echo ?? false;
  const logprobs = body.logprobs ?? null;
  const common = {
    maxTokens: Math.min(body.max_tokens ?? completionDefaults.maxTokens, model.engine.contextTokensMax),
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []),
    logprobs,
    scorePrompt: echo && logprobs !== null,
    ignoreEos: body.ignore_eos ?? false,
  };
  const requests = prompts.flatMap((prompt) =>
    Array.from({ length: n }, (_, choice) => ({ ...common, promptIds: prompt.ids, sampling: { ...sampling, choice } })),
  );
  return { prompts, n, requests, echo, includeUsage: body.stream_options?.include_usage ?? false };
}
