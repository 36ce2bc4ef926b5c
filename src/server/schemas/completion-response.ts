import Type, { type Static } from 'typebox';
import { CostBody } from './cost.js';

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const closed = { additionalProperties: false } as const;

export const LogprobsBody = Type.Object(
  {
    /** Code points from the start of `text` to the token's first character. */
    text_offset: Type.Array(Type.Integer()),
    /** Natural logarithms; null for the first token of an echoed prompt. */
    token_logprobs: Type.Array(nullable(Type.Number())),
    tokens: Type.Array(Type.String()),
    top_logprobs: Type.Array(nullable(Type.Record(Type.String(), Type.Number()))),
  },
  closed,
);
export type LogprobsBody = Static<typeof LogprobsBody>;

export const UsageBody = Type.Object(
  {
    prompt_tokens: Type.Integer(),
    completion_tokens: Type.Integer(),
    total_tokens: Type.Integer(),
    /** `pruned_tokens`: those that the last layers didn't see, if there are any. */
    prompt_tokens_details: Type.Object(
      { cached_tokens: Type.Integer(), pruned_tokens: Type.Optional(Type.Integer()) },
      closed,
    ),
    nibble_cost: Type.Optional(CostBody),
  },
  closed,
);
export type UsageBody = Static<typeof UsageBody>;

const choice = {
  text: Type.String(),
  index: Type.Integer(),
  logprobs: nullable(LogprobsBody),
  /** Extensions, with `return_token_ids`: ids of the generated tokens and of the prompt. */
  token_ids: Type.Optional(Type.Array(Type.Integer())),
  prompt_token_ids: Type.Optional(Type.Array(Type.Integer())),
};
const FinishReasonBody = Type.Enum(['stop', 'length']);
const head = {
  id: Type.String({ pattern: '^cmpl-' }),
  object: Type.Literal('text_completion'),
  created: Type.Integer(),
  model: Type.String(),
  system_fingerprint: Type.String(),
};

export const CompletionBody = Type.Object(
  {
    ...head,
    choices: Type.Array(Type.Object({ ...choice, finish_reason: FinishReasonBody }, closed)),
    usage: UsageBody,
  },
  closed,
);
export type CompletionBody = Static<typeof CompletionBody>;

/** One `data:` line of a stream. `usage` is there only when `include_usage` asks for it: null but in the last chunk. */
export const CompletionChunk = Type.Object(
  {
    ...head,
    choices: Type.Array(Type.Object({ ...choice, finish_reason: nullable(FinishReasonBody) }, closed)),
    usage: Type.Optional(nullable(UsageBody)),
  },
  closed,
);
export type CompletionChunk = Static<typeof CompletionChunk>;
