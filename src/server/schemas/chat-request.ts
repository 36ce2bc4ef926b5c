import Type, { type Static } from 'typebox';
import { TOOLS_MAX } from '../../limits.js';
import { constraintFields } from './constraint-fields.js';
import {
  extensionFields,
  field,
  flag,
  integerFrom,
  modelField,
  samplingFields,
  streamFields,
  text,
  tokenCount,
} from './fields.js';

/** A part of a message's content. Text is the one kind that is understood; other kinds are refused by name. */
const ContentPart = Type.Object({
  type: Type.String({ expected: 'a string: "text"' }),
  text: Type.Optional(Type.String({ expected: 'a string' })),
});

const toolName = { minLength: 1, maxLength: 64 } as const;

const ToolCallMessage = Type.Object({
  id: Type.String({ expected: 'a string' }),
  type: Type.Optional(Type.Literal('function', { expected: '"function"' })),
  function: Type.Object(
    {
      name: Type.String({ ...toolName, expected: 'a string of 1 to 64 characters' }),
      arguments: Type.String({ expected: 'a string: the arguments as JSON' }),
    },
    { expected: 'an object with name and arguments' },
  ),
});

export const ChatMessage = Type.Object(
  {
    role: Type.Enum(['system', 'developer', 'user', 'assistant', 'tool'], {
      expected: '"system", "developer", "user", "assistant" or "tool"',
    }),
    content: field(Type.Union([Type.String(), Type.Array(ContentPart)]), 'a string or an array of text parts'),
    name: text(),
    tool_calls: field(Type.Array(ToolCallMessage), 'an array of tool calls'),
    tool_call_id: text(),
  },
  { expected: 'an object with role and content' },
);
export type ChatMessage = Static<typeof ChatMessage>;

export const FunctionTool = Type.Object(
  {
    type: Type.Literal('function', { expected: '"function"' }),
    function: Type.Object(
      {
        name: Type.String({ ...toolName, pattern: '^[\\w.-]+$', expected: '1 to 64 letters, digits, "_", "-" or "."' }),
        description: text(),
        parameters: field(Type.Record(Type.String(), Type.Unknown()), 'an object: a JSON schema'),
        strict: flag(),
      },
      { expected: 'an object with a name' },
    ),
  },
  { expected: 'an object with type and function' },
);
export type FunctionTool = Static<typeof FunctionTool>;

const ToolChoice = Type.Union([
  Type.Enum(['none', 'auto', 'required']),
  Type.Object({ type: Type.Literal('function'), function: Type.Object({ name: Type.String() }) }),
]);

/** The body of POST /v1/chat/completions, with vLLM's extensions. */
export const ChatRequest = Type.Object({
  model: modelField,
  messages: Type.Array(ChatMessage, { minItems: 1, expected: 'an array of messages; not empty' }),
  logprobs: flag(),
  max_completion_tokens: tokenCount(),
  max_tokens: tokenCount(),
  parallel_tool_calls: flag(),
  tool_choice: field(ToolChoice, '"none", "auto", "required" or an object that names a function'),
  tools: field(Type.Array(FunctionTool, { maxItems: TOOLS_MAX }), `an array of at most ${TOOLS_MAX} functions`),
  top_logprobs: integerFrom(0, 20),
  ...samplingFields,
  ...streamFields,
  ...extensionFields,
  ...constraintFields,
  add_generation_prompt: flag(),
  continue_final_message: flag(),
  chat_template_kwargs: field(Type.Record(Type.String(), Type.Unknown()), 'an object'),
  // What the contract has and this server doesn't: named here so that it is refused rather than ignored.
  audio: Type.Optional(Type.Unknown({ expected: 'left out' })),
  functions: Type.Optional(Type.Unknown({ expected: 'left out' })),
  function_call: Type.Optional(Type.Unknown({ expected: 'left out' })),
  modalities: field(Type.Array(Type.String()), 'an array of strings'),
});
export type ChatRequest = Static<typeof ChatRequest>;
