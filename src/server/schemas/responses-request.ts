import Type, { type Static } from 'typebox';
import { TOOLS_MAX } from '../../limits.js';
import { formatType, schema } from './constraint-fields.js';
import {
  extensionFields,
  field,
  flag,
  integerFrom,
  modelField,
  numberFrom,
  samplingFields,
  text,
  tokenCount,
} from './fields.js';

const TextPart = Type.Object({
  type: Type.String({ expected: 'a string: "input_text" or "output_text"' }),
  text: Type.Optional(Type.String({ expected: 'a string' })),
});

/** An item of `input`: a message, a call that the model made, or what it gave. Which, `type` and `role` say. */
export const InputItem = Type.Object(
  {
    type: text(),
    role: field(
      Type.Enum(['system', 'developer', 'user', 'assistant']),
      '"system", "developer", "user" or "assistant"',
    ),
    content: field(Type.Union([Type.String(), Type.Array(TextPart)]), 'a string or an array of text parts'),
    call_id: text(),
    name: text(),
    arguments: text(),
    output: text(),
  },
  { expected: 'an object: a message, a function call or its output' },
);
export type InputItem = Static<typeof InputItem>;

const ResponseTool = Type.Object(
  {
    type: Type.Literal('function', { expected: '"function"' }),
    name: Type.String({
      minLength: 1,
      maxLength: 64,
      pattern: '^[\\w.-]+$',
      expected: '1 to 64 letters, digits, "_", "-" or "."',
    }),
    description: text(),
    parameters: field(Type.Record(Type.String(), Type.Unknown()), 'an object: a JSON schema'),
    strict: flag(),
  },
  { expected: 'an object with type and name' },
);

const ToolChoice = Type.Union([
  Type.Enum(['none', 'auto', 'required']),
  Type.Object({ type: Type.Literal('function'), name: Type.String() }),
]);

export const TextFormat = Type.Object({
  type: formatType,
  name: text(),
  description: text(),
  schema: schema(),
  strict: flag(),
});

/** The body of POST /v1/responses: text and functions, without state on the server. */
export const ResponsesRequest = Type.Object({
  model: modelField,
  input: Type.Union([Type.String(), Type.Array(InputItem, { minItems: 1 })], {
    expected: 'a string, or an array of items; not empty',
  }),
  instructions: text(),
  max_output_tokens: tokenCount(),
  metadata: field(Type.Record(Type.String(), Type.Unknown()), 'an object'),
  parallel_tool_calls: flag(),
  seed: samplingFields.seed,
  stream: flag(),
  temperature: numberFrom(0, 2),
  text: field(Type.Object({ format: field(TextFormat, 'an object with a type') }), 'an object'),
  tool_choice: field(ToolChoice, '"none", "auto", "required" or an object that names a function'),
  tools: field(Type.Array(ResponseTool, { maxItems: TOOLS_MAX }), `an array of at most ${TOOLS_MAX} functions`),
  top_logprobs: integerFrom(0, 20),
  top_p: numberFrom(0, 1),
  user: samplingFields.user,
  ...extensionFields,
  // What needs state or work in the background: named here so that it is refused rather than ignored.
  background: flag(),
  conversation: Type.Optional(Type.Unknown({ expected: 'left out' })),
  previous_response_id: text(),
  prompt: Type.Optional(Type.Unknown({ expected: 'left out' })),
});
export type ResponsesRequest = Static<typeof ResponsesRequest>;
