import { JSON_DEPTH_MAX } from '../../limits.js';
import { invalid, unsupported } from '../generation/settings.js';
import { isDeeperThan } from '../plugins/nesting.js';
import type { ChatMessage, ChatRequest } from '../schemas/chat-request.js';
import { type ToolSupport, toolInstructions } from '../tools/format.js';

/** A message as templates expect it: the content is one text, arguments of calls are values. */
export type TemplateMessage = {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly tool_call_id?: string;
  readonly tool_calls?: readonly {
    readonly id: string;
    readonly type: 'function';
    readonly function: { readonly name: string; readonly arguments: unknown };
  }[];
};

/** Parts as one text: lines, as other servers join them for templates that know only text. */
function contentText(content: ChatMessage['content'], param: string): string | null {
  if (content == null) return null;
  if (typeof content === 'string') return content;
  const texts = content.map((part, index) => {
    if (part.type !== 'text') {
      const shown = part.type.slice(0, 32);
      throw unsupported(`${param}.${index}.type`, `parts of type '${shown}' are not understood; send text.`);
    }
    if (part.text === undefined) throw invalid(`${param}.${index}.text`, `'${param}.${index}.text' is required.`);
    return part.text;
  });
  return texts.join('\n');
}

/** Arguments as the value they stand for; text that isn't JSON, or is nested too deep, stays text. */
function argumentsValue(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isDeeperThan(value, JSON_DEPTH_MAX) ? text : value;
  } catch {
    return text;
  }
}

function readMessage(message: ChatMessage, index: number): TemplateMessage {
  const at = `messages.${index}`;
  const content = contentText(message.content, `${at}.content`);
  const calls = message.role === 'assistant' ? (message.tool_calls ?? []) : [];
  if (content === null && calls.length === 0) {
    throw invalid(
      `${at}.content`,
      `'${at}.content' is required, except in a message of the assistant with tool calls.`,
    );
  }
  if (message.role === 'tool' && message.tool_call_id == null) {
    throw invalid(`${at}.tool_call_id`, `'${at}.tool_call_id' is required in a message of a tool.`);
  }
  return {
    // Models were taught `system`; the newer name means the same to them.
    role: message.role === 'developer' ? 'system' : message.role,
    content: content ?? '',
    ...(message.name == null ? {} : { name: message.name }),
    ...(message.tool_call_id == null ? {} : { tool_call_id: message.tool_call_id }),
    ...(calls.length === 0
      ? {}
      : {
          tool_calls: calls.map(({ id, function: { name, arguments: text } }) => ({
            id,
            type: 'function' as const,
            function: { name, arguments: argumentsValue(text) },
          })),
        }),
  };
}

/** A call and an answer in Hermes' words, for templates that know neither. */
function inWords(message: TemplateMessage): TemplateMessage {
  if (message.role === 'tool') {
    return { role: 'user', content: `<tool_response>\n${message.content}\n</tool_response>` };
  }
  if (message.tool_calls === undefined) return message;
  const calls = message.tool_calls.map(({ function: { name, arguments: value } }) => {
    const json = JSON.stringify({ name, arguments: value });
    return `<tool_call>\n${json}\n</tool_call>`;
  });
  return { role: message.role, content: [message.content, ...calls].filter((text) => text !== '').join('\n') };
}

/** Adds a text to the system message, which comes first. */
function withSystem(messages: readonly TemplateMessage[], text: string): readonly TemplateMessage[] {
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ ...first, content: `${first.content}\n\n${text}` }, ...rest];
}

type Tools = NonNullable<ChatRequest['tools']>;

/** What the template is given. Throws `invalid_request` and `unsupported_parameter` with the message at fault. */
export function templateVariables(
  request: Pick<ChatRequest, 'messages' | 'chat_template_kwargs'>,
  tools: Tools,
  support: ToolSupport,
  addGenerationPrompt: boolean,
): Readonly<Record<string, unknown>> {
  const messages = request.messages.map(readMessage);
  const prompt = { ...request.chat_template_kwargs, add_generation_prompt: addGenerationPrompt };
  if (support.isNative) return { ...prompt, messages, ...(tools.length === 0 ? {} : { tools }) };
  const spoken = messages.map(inWords);
  return { ...prompt, messages: tools.length === 0 ? spoken : withSystem(spoken, toolInstructions(tools)) };
}
