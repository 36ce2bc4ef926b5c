import Type, { type Static } from 'typebox';
import { ChatLogprob } from './chat-response.js';
import { CostBody } from './cost.js';
import { TextFormat } from './responses-request.js';

const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
const closed = { additionalProperties: false } as const;
const Status = Type.Enum(['in_progress', 'completed', 'incomplete']);

export const OutputText = Type.Object(
  {
    type: Type.Literal('output_text'),
    text: Type.String(),
    annotations: Type.Array(Type.Never()),
    logprobs: Type.Array(ChatLogprob),
  },
  closed,
);
export type OutputText = Static<typeof OutputText>;

export const OutputItem = Type.Union([
  Type.Object(
    {
      type: Type.Literal('message'),
      id: Type.String({ pattern: '^msg_' }),
      status: Status,
      role: Type.Literal('assistant'),
      content: Type.Array(OutputText),
    },
    closed,
  ),
  Type.Object(
    {
      type: Type.Literal('function_call'),
      id: Type.String({ pattern: '^fc_' }),
      call_id: Type.String({ pattern: '^call_' }),
      name: Type.String(),
      arguments: Type.String(),
      status: Status,
    },
    closed,
  ),
]);
export type OutputItem = Static<typeof OutputItem>;

const ResponseUsage = Type.Object(
  {
    input_tokens: Type.Integer(),
    input_tokens_details: Type.Object({ cached_tokens: Type.Integer() }, closed),
    output_tokens: Type.Integer(),
    output_tokens_details: Type.Object({ reasoning_tokens: Type.Integer() }, closed),
    total_tokens: Type.Integer(),
    nibble_cost: Type.Optional(CostBody),
  },
  closed,
);

export const ResponseBody = Type.Object(
  {
    id: Type.String({ pattern: '^resp_' }),
    object: Type.Literal('response'),
    created_at: Type.Integer(),
    status: Status,
    error: Type.Null(),
    incomplete_details: nullable(Type.Object({ reason: Type.Literal('max_output_tokens') }, closed)),
    instructions: nullable(Type.String()),
    max_output_tokens: nullable(Type.Integer()),
    metadata: Type.Record(Type.String(), Type.Unknown()),
    model: Type.String(),
    output: Type.Array(OutputItem),
    parallel_tool_calls: Type.Boolean(),
    previous_response_id: Type.Null(),
    store: Type.Literal(false),
    temperature: Type.Number(),
    /** As it was asked for. */
    text: Type.Object({ format: TextFormat }, closed),
    tool_choice: Type.Unknown(),
    tools: Type.Array(Type.Unknown()),
    top_p: Type.Number(),
    truncation: Type.Literal('disabled'),
    usage: nullable(ResponseUsage),
  },
  closed,
);
export type ResponseBody = Static<typeof ResponseBody>;

/** One event of a stream; what else it has depends on its type. */
export const ResponseEventBody = Type.Object({ type: Type.String(), sequence_number: Type.Integer() });
