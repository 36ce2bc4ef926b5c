/** A request for a response, as the conversation that it is. */
import { NibbleError } from '../../errors.js';
import { type ChatPlan, planChat } from '../chat/plan.js';
import { invalid, unsupported } from '../generation/settings.js';
import type { ChatMessage, ChatRequest } from '../schemas/chat-request.js';
import type { InputItem, ResponsesRequest } from '../schemas/responses-request.js';
import type { ServedModel } from '../served-model.js';

function checkFields(body: ResponsesRequest): void {
  const stateful = (name: string) => unsupported(name, 'this server keeps no state; send the whole conversation.');
  if (body.previous_response_id != null) throw stateful('previous_response_id');
  if (body.conversation != null) throw stateful('conversation');
  if (body.prompt != null) throw stateful('prompt');
  if (body.background === true) throw unsupported('background', 'a response is made while the client waits.');
}

/** What is asked of the text, as chat says it. */
function responseFormat({ text }: ResponsesRequest): ChatRequest['response_format'] {
  const { type, schema } = text?.format ?? {};
  if (type !== 'json_schema') return type === undefined ? undefined : { type };
  if (schema == null) throw invalid('text.format.schema', "'text.format' of type 'json_schema' needs a 'schema'.");
  return { type, json_schema: { schema } };
}

/** Parts as those of chat. */
function contentOf(item: InputItem, at: string): ChatMessage['content'] {
  if (item.content == null || typeof item.content === 'string') return item.content ?? null;
  return item.content.map((part, index) => {
    if (part.type === 'input_text' || part.type === 'output_text' || part.type === 'text')
      return { ...part, type: 'text' };
    const shown = part.type.slice(0, 32);
    throw unsupported(`${at}.content.${index}.type`, `parts of type '${shown}' are not understood; send text.`);
  });
}

function required(value: string | null | undefined, param: string): string {
  if (value == null) throw invalid(param, `'${param}' is required.`);
  return value;
}

/** Calls that follow each other were made in one answer. */
function addCall(messages: ChatMessage[], item: InputItem, at: string): void {
  const call = {
    id: required(item.call_id, `${at}.call_id`),
    type: 'function' as const,
    function: { name: required(item.name, `${at}.name`), arguments: required(item.arguments, `${at}.arguments`) },
  };
  const last = messages.at(-1);
  if (last?.role === 'assistant')
    messages[messages.length - 1] = { ...last, tool_calls: [...(last.tool_calls ?? []), call] };
  else messages.push({ role: 'assistant', content: null, tool_calls: [call] });
}

function toMessages(body: ResponsesRequest): ChatMessage[] {
  const messages: ChatMessage[] = body.instructions == null ? [] : [{ role: 'system', content: body.instructions }];
  if (typeof body.input === 'string') return [...messages, { role: 'user', content: body.input }];
  for (const [index, item] of body.input.entries()) {
    const at = `input.${index}`;
    switch (item.type ?? 'message') {
      case 'message': {
        const { role } = item;
        if (role == null) throw invalid(`${at}.role`, `'${at}.role' is required.`);
        const content = contentOf(item, at);
        if (content == null) throw invalid(`${at}.content`, `'${at}.content' is required.`);
        messages.push({ role, content });
        break;
      }
      case 'function_call':
        addCall(messages, item, at);
        break;
      case 'function_call_output':
        messages.push({
          role: 'tool',
          tool_call_id: required(item.call_id, `${at}.call_id`),
          content: required(item.output, `${at}.output`),
        });
        break;
      // What a model thought in an earlier answer isn't shown to it again.
      case 'reasoning':
        break;
      default:
        throw unsupported(`${at}.type`, `items of type '${String(item.type).slice(0, 32)}' are not understood.`);
    }
  }
  return messages;
}

function toChat(body: ResponsesRequest): ChatRequest {
  const { tool_choice: choice, tools, top_logprobs: top } = body;
  const { model, seed, temperature, top_p, user, stream, parallel_tool_calls, max_output_tokens } = body;
  const { top_k, min_p, repetition_penalty, ignore_eos, min_tokens, stop_token_ids } = body;
  const { include_stop_str_in_output, skip_special_tokens, priority, cost } = body;
  const extensions = { top_k, min_p, repetition_penalty, ignore_eos, min_tokens, stop_token_ids };
  const given = {
    ...{ seed, temperature, top_p, user, stream, parallel_tool_calls, max_completion_tokens: max_output_tokens },
    ...extensions,
    ...{ include_stop_str_in_output, skip_special_tokens, priority, cost },
    ...(top == null ? {} : { logprobs: true, top_logprobs: top }),
    response_format: responseFormat(body),
    tools: tools?.map(({ type, ...definition }) => ({ type, function: definition })),
    tool_choice:
      typeof choice === 'object' && choice !== null
        ? { type: 'function' as const, function: { name: choice.name } }
        : choice,
  };
  const present = Object.entries(given).filter(([, value]) => value !== undefined);
  return { model, messages: toMessages(body), ...Object.fromEntries(present) };
}

/** Names of fields in chat that have others here. */
const paramNames: Readonly<Record<string, string>> = {
  max_completion_tokens: 'max_output_tokens',
  response_format: 'text.format',
  'response_format.json_schema.schema': 'text.format.schema',
};

/** Throws as `planChat`, with the names of this endpoint's fields. */
export async function planResponse(body: ResponsesRequest, model: ServedModel): Promise<ChatPlan> {
  checkFields(body);
  const chat = toChat(body);
  try {
    return await planChat(chat, model);
  } catch (error) {
    if (!(error instanceof NibbleError) || error.param === null) throw error;
    const param = error.param.startsWith('messages') ? 'input' : (paramNames[error.param] ?? error.param);
    throw error.withParam(param);
  }
}
