import Type, { type Static } from 'typebox';
import { UsageBody } from './completion-response.js';

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const closed = { additionalProperties: false } as const;

const token = {
  token: Type.String(),
  logprob: Type.Number(),
  /** UTF-8 of the token, which need not be whole characters. */
  bytes: Type.Array(Type.Integer()),
};
export const ChatLogprob = Type.Object({ ...token, top_logprobs: Type.Array(Type.Object(token, closed)) }, closed);
export type ChatLogprob = Static<typeof ChatLogprob>;
export const ChatLogprobs = Type.Object({ content: Type.Array(ChatLogprob), refusal: Type.Null() }, closed);
export type ChatLogprobs = Static<typeof ChatLogprobs>;

const call = {
  id: Type.String({ pattern: '^call_' }),
  type: Type.Literal('function'),
  function: Type.Object({ name: Type.String(), arguments: Type.String() }, closed),
};
export const ToolCallBody = Type.Object(call, closed);
export type ToolCallBody = Static<typeof ToolCallBody>;

const FinishReasonBody = Type.Enum(['stop', 'length', 'tool_calls']);
const ids = {
  token_ids: Type.Optional(Type.Array(Type.Integer())),
};
const head = {
  id: Type.String({ pattern: '^chatcmpl-' }),
  created: Type.Integer(),
  model: Type.String(),
  system_fingerprint: Type.String(),
};

export const ChatBody = Type.Object(
  {
    ...head,
    object: Type.Literal('chat.completion'),
    choices: Type.Array(
      Type.Object(
        {
          index: Type.Integer(),
          message: Type.Object(
            {
              role: Type.Literal('assistant'),
              content: nullable(Type.String()),
              refusal: Type.Null(),
              tool_calls: Type.Optional(Type.Array(ToolCallBody)),
            },
            closed,
          ),
          logprobs: nullable(ChatLogprobs),
          finish_reason: FinishReasonBody,
          ...ids,
        },
        closed,
      ),
    ),
    usage: UsageBody,
    /** Extension, with `return_token_ids`. */
    prompt_token_ids: Type.Optional(Type.Array(Type.Integer())),
  },
  closed,
);
export type ChatBody = Static<typeof ChatBody>;

export const ChatDelta = Type.Object(
  {
    role: Type.Optional(Type.Literal('assistant')),
    content: Type.Optional(Type.String()),
    /** A call, or more of the arguments of one that has begun. */
    tool_calls: Type.Optional(
      Type.Array(
        Type.Union([
          Type.Object({ index: Type.Integer(), ...call }, closed),
          Type.Object({ index: Type.Integer(), function: Type.Object({ arguments: Type.String() }, closed) }, closed),
        ]),
      ),
    ),
  },
  closed,
);
export type ChatDelta = Static<typeof ChatDelta>;

/** One `data:` line of a stream. `usage` is there only when `include_usage` asks for it: null but in the last chunk. */
export const ChatChunk = Type.Object(
  {
    ...head,
    object: Type.Literal('chat.completion.chunk'),
    choices: Type.Array(
      Type.Object(
        {
          index: Type.Integer(),
          delta: ChatDelta,
          logprobs: nullable(ChatLogprobs),
          finish_reason: nullable(FinishReasonBody),
          ...ids,
        },
        closed,
      ),
    ),
    usage: Type.Optional(nullable(UsageBody)),
    prompt_token_ids: Type.Optional(Type.Array(Type.Integer())),
  },
  closed,
);
export type ChatChunk = Static<typeof ChatChunk>;
