import { randomBytes } from 'node:crypto';
import { fitsLayers, planPruning } from '../../engine/pruning.js';
import type { GenerationRequest, SamplingRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import { LOGIT_BIAS_MAX } from '../../limits.js';
import type { SettingsFields } from '../schemas/fields.js';
import type { ServedModel } from '../served-model.js';
import type { CostAccount } from './usage.js';

export const invalid = (param: string, message: string) => new NibbleError('invalid_request', { message }, { param });
export const unsupported = (parameter: string, message: string) =>
  new NibbleError('unsupported_parameter', { parameter, message }, { param: parameter });

/** What the fields common to all endpoints say about each sequence of a request. */
export type Settings = Pick<
  GenerationRequest,
  | 'stop'
  | 'ignoreEos'
  | 'minTokens'
  | 'stopIds'
  | 'includeStop'
  | 'keepSpecial'
  | 'pruning'
  | 'priority'
  | 'tenant'
  | 'accounts'
> & {
  readonly sampling: Omit<SamplingRequest, 'choice'>;
};

/** Values of fields that aren't given. */
const defaults = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 } as const;

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

/** A seed as 64 bits. JSON numbers are doubles: the largest int64 arrives as 2^63. */
function readSeed(seed: number): bigint {
  if (Math.abs(seed) > 2 ** 63) throw invalid('seed', "'seed' must be a 64-bit integer.");
  return BigInt.asUintN(64, BigInt(seed));
}

/** Uniform over all 64-bit seeds: without a seed two equal requests should differ. */
const randomSeed = (): bigint => randomBytes(8).readBigUInt64LE();

function readSampling(body: SettingsFields, vocabSize: number): Omit<SamplingRequest, 'choice'> {
  const bias = readLogitBias(body.logit_bias ?? {}, vocabSize);
  return {
    temperature: body.temperature ?? defaults.temperature,
    topK: Math.min(Math.max(body.top_k ?? defaults.topK, 0), vocabSize),
    topP: body.top_p ?? defaults.topP,
    minP: body.min_p ?? defaults.minP,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    repetitionPenalty: body.repetition_penalty ?? defaults.repetitionPenalty,
    seed: body.seed == null ? randomSeed() : readSeed(body.seed),
    biasIds: bias.ids,
    biasValues: bias.values,
  };
}

function readStopIds(ids: readonly number[], vocabSize: number): ReadonlySet<number> {
  const outside = ids.find((id) => id >= vocabSize);
  if (outside === undefined) return new Set(ids);
  throw invalid('stop_token_ids', `'stop_token_ids' holds the id ${outside}; the vocabulary has ${vocabSize}.`);
}

function openAccount({ costs }: ServedModel): CostAccount {
  if (costs === null) throw unsupported('cost', 'nothing measures energy on this server.');
  return costs.open();
}

/** What the request wants, or else what the model does by itself. */
function readPruning(
  wanted: SettingsFields['token_pruning'] | null,
  model: ServedModel['pruning'],
): Pick<Settings, 'pruning'> {
  if (!model.isAllowed && wanted) {
    throw unsupported('token_pruning', 'this server computes every prompt token in all layers.');
  }
  if (!wanted) return model.isAllowed && model.usual !== null ? { pruning: model.usual } : {};
  // A quarter of the layers have seen everything by then.
  const afterLayer = wanted.after_layer ?? Math.floor(model.layers / 4);
  const settings = { keep: wanted.keep, afterLayer, stages: wanted.stages ?? 1 };
  if (!fitsLayers(settings, model.layers)) {
    throw invalid(
      'token_pruning.after_layer',
      `'token_pruning' starts behind layer ${afterLayer}, in ${settings.stages} stages, of ${model.layers} layers.`,
    );
  }
  const pruning = planPruning(settings, model.layers);
  return pruning === null ? {} : { pruning };
}

/** Reads the fields that all endpoints share. Throws `invalid_request`, `unsupported_parameter`. */
export function readSettings(body: SettingsFields, model: ServedModel): Settings {
  const { vocabSize } = model.tokenizer;
  const stopIds = readStopIds(body.stop_token_ids ?? [], vocabSize);
  return {
    sampling: readSampling(body, vocabSize),
    stop: typeof body.stop === 'string' ? [body.stop] : (body.stop ?? []),
    ignoreEos: body.ignore_eos ?? false,
    ...(body.min_tokens ? { minTokens: body.min_tokens } : {}),
    ...(stopIds.size === 0 ? {} : { stopIds }),
    ...(body.include_stop_str_in_output === true ? { includeStop: true } : {}),
    ...(body.skip_special_tokens === false ? { keepSpecial: true } : {}),
    ...readPruning(body.token_pruning ?? null, model.pruning),
    priority: body.priority ?? 0,
    tenant: body.user ?? '',
    ...(body.cost === true ? { accounts: [openAccount(model)] } : {}),
  };
}

/** Throws `invalid_request` if a sequence would have to end before it may. */
export function checkMinTokens({ minTokens = 0 }: Pick<Settings, 'minTokens'>, maxTokens: number): void {
  if (minTokens <= maxTokens) return;
  throw invalid('min_tokens', `'min_tokens' is ${minTokens}; at most ${maxTokens} tokens are generated.`);
}
