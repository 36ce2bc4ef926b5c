import { randomUUID } from 'node:crypto';
import type { UsageCounter } from '../generation/usage.js';
import type { ChatLogprob, ToolCallBody } from '../schemas/chat-response.js';
import type { ResponsesRequest } from '../schemas/responses-request.js';
import type { OutputItem, OutputText, ResponseBody } from '../schemas/responses-response.js';
import type { ServedModel } from '../served-model.js';

const newId = (prefix: string): string => `${prefix}_${randomUUID().replaceAll('-', '')}`;

/** The response before anything is generated. */
export function emptyResponse(body: ResponsesRequest, model: ServedModel): ResponseBody {
  return {
    id: newId('resp'),
    object: 'response',
    created_at: Math.floor(Date.now() / 1000),
    status: 'in_progress',
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    model: model.id,
    output: [],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: null,
    store: false,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format ?? { type: 'text' } },
    tool_choice: body.tool_choice ?? 'auto',
    tools: [...(body.tools ?? [])],
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
    usage: null,
  };
}

export const outputText = (text: string, logprobs: readonly ChatLogprob[]): OutputText => ({
  type: 'output_text',
  text,
  annotations: [],
  logprobs: [...logprobs],
});

export type MessageItem = Extract<OutputItem, { type: 'message' }>;
export type CallItem = Extract<OutputItem, { type: 'function_call' }>;

export const openMessage = (): MessageItem => ({
  type: 'message',
  id: newId('msg'),
  status: 'in_progress',
  role: 'assistant',
  content: [],
});

export const callItem = ({ id, function: called }: ToolCallBody): CallItem => ({
  type: 'function_call',
  id: newId('fc'),
  call_id: id,
  name: called.name,
  arguments: called.arguments,
  status: 'completed',
});

/** The response with all that was generated. */
export function finished(
  response: ResponseBody,
  output: readonly OutputItem[],
  isCut: boolean,
  usage: UsageCounter,
): ResponseBody {
  const { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details, nibble_cost } = usage.body();
  return {
    ...response,
    status: isCut ? 'incomplete' : 'completed',
    incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
    output: [...output],
    usage: {
      input_tokens: prompt_tokens,
      input_tokens_details: prompt_tokens_details,
      output_tokens: completion_tokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens,
      ...(nibble_cost === undefined ? {} : { nibble_cost }),
    },
  };
}
