import Type, { type Static } from 'typebox';
import { ChatMessage, FunctionTool } from './chat-request.js';
import { field, flag, TokenId, text } from './fields.js';

/** The body of POST /tokenize: a text or a conversation. Names as in vLLM. */
export const TokenizeRequest = Type.Object({
  model: text(),
  prompt: text(),
  messages: field(Type.Array(ChatMessage, { minItems: 1 }), 'an array of messages; not empty'),
  tools: field(Type.Array(FunctionTool), 'an array of functions'),
  add_special_tokens: flag(),
  add_generation_prompt: flag(),
  continue_final_message: flag(),
  chat_template_kwargs: field(Type.Record(Type.String(), Type.Unknown()), 'an object'),
  return_token_strs: flag(),
});
export type TokenizeRequest = Static<typeof TokenizeRequest>;

export const TokenizeBody = Type.Object(
  {
    count: Type.Integer(),
    max_model_len: Type.Integer(),
    tokens: Type.Array(Type.Integer()),
    token_strs: Type.Union([Type.Array(Type.String()), Type.Null()]),
  },
  { additionalProperties: false },
);
export type TokenizeBody = Static<typeof TokenizeBody>;

/** The body of POST /detokenize. */
export const DetokenizeRequest = Type.Object({
  model: text(),
  tokens: Type.Array(TokenId, { expected: 'an array of token ids' }),
});
export type DetokenizeRequest = Static<typeof DetokenizeRequest>;

export const DetokenizeBody = Type.Object({ prompt: Type.String() }, { additionalProperties: false });
export type DetokenizeBody = Static<typeof DetokenizeBody>;

const nullableText = Type.Union([Type.String(), Type.Null()]);
/** The answer to GET /tokenizer_info, which evaluation harnesses read. */
export const TokenizerInfoBody = Type.Object(
  { bos_token: nullableText, eos_token: nullableText, chat_template: nullableText },
  { additionalProperties: false },
);
export type TokenizerInfoBody = Static<typeof TokenizerInfoBody>;
