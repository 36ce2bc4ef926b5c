import Type, { type Static, type TSchema } from 'typebox';
import { STOP_STRING_LENGTH_MAX, STOP_STRINGS_MAX } from '../../limits.js';

/**
 * The body of POST /v1/completions (OpenAI's legacy completions, with vLLM's sampling extensions). `expected` completes
 * the sentence "… must be", so that one table serves validation, messages and documentation.
 *
 * As in OpenAI's contract, null means "not given" for every optional field but `user`.
 */
const field = <T extends TSchema>(schema: T, expected: string) =>
  Type.Optional(Type.Union([schema, Type.Null()], { expected }));

const numberFrom = (minimum: number, maximum: number) =>
  field(Type.Number({ minimum, maximum }), `a number from ${minimum} to ${maximum}`);
const integerFrom = (minimum: number, maximum: number) =>
  field(Type.Integer({ minimum, maximum }), `an integer from ${minimum} to ${maximum}`);
const flag = () => field(Type.Boolean(), 'true or false');

const TokenIds = Type.Array(Type.Integer({ minimum: 0, maximum: 0x7fffffff }), { minItems: 1 });
const StopString = Type.String({ minLength: 1, maxLength: STOP_STRING_LENGTH_MAX });

export const CompletionRequest = Type.Object({
  model: Type.String({ expected: 'a string: a model id, or "default"' }),
  prompt: Type.Union(
    [Type.String(), TokenIds, Type.Array(Type.String(), { minItems: 1 }), Type.Array(TokenIds, { minItems: 1 })],
    { expected: 'a string, an array of strings, an array of token ids, or an array of arrays of token ids; not empty' },
  ),
  best_of: integerFrom(0, 20),
  echo: flag(),
  frequency_penalty: numberFrom(-2, 2),
  logit_bias: field(
    Type.Record(Type.String(), Type.Number({ minimum: -100, maximum: 100 })),
    'an object from token ids to numbers from -100 to 100',
  ),
  logprobs: integerFrom(0, 5),
  max_tokens: field(Type.Integer({ minimum: 0 }), 'an integer, 0 or more'),
  n: integerFrom(1, 128),
  presence_penalty: numberFrom(-2, 2),
  // The bounds of int64 as the nearest doubles.
  seed: field(Type.Integer({ minimum: -(2 ** 63), maximum: 2 ** 63 }), 'a 64-bit integer'),
  stop: field(
    Type.Union([StopString, Type.Array(StopString, { maxItems: STOP_STRINGS_MAX })]),
    `a string or an array of at most ${STOP_STRINGS_MAX} strings, each of 1 to ${STOP_STRING_LENGTH_MAX} characters`,
  ),
  stream: flag(),
  stream_options: field(Type.Object({ include_usage: flag() }), 'an object'),
  suffix: field(Type.String(), 'a string'),
  temperature: numberFrom(0, 2),
  top_p: numberFrom(0, 1),
  user: Type.Optional(Type.String({ expected: 'a string' })),
  // Extensions
  top_k: field(Type.Integer({ minimum: -1 }), 'an integer; 0 and -1 mean off'),
  min_p: numberFrom(0, 1),
  repetition_penalty: numberFrom(0.01, 10),
  ignore_eos: flag(),
});
export type CompletionRequest = Static<typeof CompletionRequest>;

/** Values of fields that aren't given. */
export const completionDefaults = {
  maxTokens: 16,
  temperature: 1,
  topP: 1,
  n: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
} as const;

/** What a field must be, in words; null for a field that isn't known. `path` is dotted. */
export function expectedOf(path: string): string | null {
  if (path === 'stream_options.include_usage') return 'true or false';
  const properties: Readonly<Record<string, TSchema & { expected?: string }>> = CompletionRequest.properties;
  return Object.hasOwn(properties, path) ? (properties[path]?.expected ?? null) : null;
}

/** Names in a body that the contract doesn't know. They are accepted and ignored. */
export function unknownFields(body: object): readonly string[] {
  return Object.keys(body).filter((name) => !Object.hasOwn(CompletionRequest.properties, name));
}
