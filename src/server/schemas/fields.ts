/**
 * What the request schemas share. `expected` completes the sentence "… must be", so that one table serves validation,
 * messages and documentation. As in OpenAI's contract, null means "not given" for every optional field but `user`.
 */
import Type, { type Static, type TSchema } from 'typebox';
import {
  CACHE_SALT_LENGTH_MAX,
  CONTEXT_TOKENS_MAX,
  PRUNING_STAGES_MAX,
  STOP_STRING_LENGTH_MAX,
  STOP_STRINGS_MAX,
  STOP_TOKEN_IDS_MAX,
} from '../../limits.js';

/** An optional field that may be null. */
export const field = <T extends TSchema>(schema: T, expected: string) =>
  Type.Optional(Type.Union([schema, Type.Null()], { expected }));

export const numberFrom = (minimum: number, maximum: number) =>
  field(Type.Number({ minimum, maximum }), `a number from ${minimum} to ${maximum}`);
export const integerFrom = (minimum: number, maximum: number) =>
  field(Type.Integer({ minimum, maximum }), `an integer from ${minimum} to ${maximum}`);
export const tokenCount = () => field(Type.Integer({ minimum: 0 }), 'an integer, 0 or more');
export const flag = () => field(Type.Boolean(), 'true or false');
export const text = () => field(Type.String(), 'a string');

export const TokenId = Type.Integer({ minimum: 0, maximum: 0x7fffffff });
const StopString = Type.String({ minLength: 1, maxLength: STOP_STRING_LENGTH_MAX });

export const modelField = Type.String({ expected: 'a string: the name of a model or an alias, or "default"' });
export const streamFields = {
  stream: flag(),
  stream_options: field(Type.Object({ include_usage: flag() }), 'an object'),
};

/** Fields of the OpenAI contract that say how tokens are drawn and when a choice ends; alike in all endpoints. */
export const samplingFields = {
  frequency_penalty: numberFrom(-2, 2),
  logit_bias: field(
    Type.Record(Type.String(), Type.Number({ minimum: -100, maximum: 100 })),
    'an object from token ids to numbers from -100 to 100',
  ),
  n: integerFrom(1, 128),
  presence_penalty: numberFrom(-2, 2),
  // The largest int64 isn't a double, so that a schema can't have it as a bound: `readSettings` checks.
  seed: field(Type.Integer(), 'a 64-bit integer'),
  stop: field(
    Type.Union([StopString, Type.Array(StopString, { maxItems: STOP_STRINGS_MAX })]),
    `a string or an array of at most ${STOP_STRINGS_MAX} strings, each of 1 to ${STOP_STRING_LENGTH_MAX} characters`,
  ),
  temperature: numberFrom(0, 2),
  top_p: numberFrom(0, 1),
  user: Type.Optional(Type.String({ expected: 'a string' })),
};

/** How prompts are thinned out for speed (docs/methods/token-pruning.md); Nibble's own. */
const tokenPruning = field(
  Type.Object(
    {
      keep: Type.Number({ exclusiveMinimum: 0, maximum: 1, expected: 'a number above 0, at most 1' }),
      after_layer: integerFrom(0, 10_000),
      stages: integerFrom(1, PRUNING_STAGES_MAX),
    },
    { additionalProperties: false },
  ),
  'an object with "keep", and "after_layer" and "stages" if need be',
);

/** Extensions, with the names that vLLM uses. */
export const extensionFields = {
  top_k: field(Type.Integer({ minimum: -1 }), 'an integer; 0 and -1 mean off'),
  min_p: numberFrom(0, 1),
  repetition_penalty: numberFrom(0.01, 10),
  ignore_eos: flag(),
  min_tokens: field(
    Type.Integer({ minimum: 0, maximum: CONTEXT_TOKENS_MAX }),
    `an integer from 0 to ${CONTEXT_TOKENS_MAX}`,
  ),
  stop_token_ids: field(
    Type.Array(TokenId, { maxItems: STOP_TOKEN_IDS_MAX }),
    `an array of at most ${STOP_TOKEN_IDS_MAX} token ids`,
  ),
  include_stop_str_in_output: flag(),
  skip_special_tokens: flag(),
  return_token_ids: flag(),
  priority: integerFrom(-100, 100),
  cost: flag(),
  cache_salt: field(
    Type.String({ minLength: 1, maxLength: CACHE_SALT_LENGTH_MAX }),
    `a string of 1 to ${CACHE_SALT_LENGTH_MAX} characters`,
  ),
  token_pruning: tokenPruning,
};

/** The fields that `readSettings` understands, as every endpoint that generates has them. */
export const SettingsFields = Type.Object({ ...samplingFields, ...extensionFields });
export type SettingsFields = Static<typeof SettingsFields>;

type Described = TSchema & {
  readonly expected?: string;
  readonly properties?: Readonly<Record<string, Described>>;
  readonly items?: Described;
  readonly anyOf?: readonly Described[];
};

/** The schema of a member, looked for in every alternative. */
function memberOf(schema: Described, name: string): Described | null {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, name)) return schema.properties[name] ?? null;
  if (schema.items !== undefined && /^\d+$/.test(name)) return schema.items;
  for (const alternative of schema.anyOf ?? []) {
    const found = memberOf(alternative, name);
    if (found !== null) return found;
  }
  return null;
}

/** The innermost member on a path that says what it must be: its dotted name and those words. */
export function expectedAt(
  schema: TSchema,
  path: readonly string[],
): { readonly param: string; readonly expected: string } | null {
  let found: { readonly param: string; readonly expected: string } | null = null;
  let current: Described | null = schema as Described;
  for (const [depth, name] of path.entries()) {
    current = memberOf(current, name);
    if (current === null) break;
    if (current.expected !== undefined) {
      found = { param: path.slice(0, depth + 1).join('.'), expected: current.expected };
    }
  }
  return found;
}

/** Names in a body that its schema doesn't know. They are accepted and ignored. */
export function unknownFields(schema: TSchema, body: object): readonly string[] {
  const { properties } = schema as Described;
  return Object.keys(body).filter((name) => properties === undefined || !Object.hasOwn(properties, name));
}
