import Type, { type Static } from 'typebox';
import { constraintFields } from './constraint-fields.js';
import {
  extensionFields,
  field,
  flag,
  integerFrom,
  modelField,
  samplingFields,
  streamFields,
  TokenId,
  text,
  tokenCount,
} from './fields.js';

const TokenIds = Type.Array(TokenId, { minItems: 1 });

/** The body of POST /v1/completions: OpenAI's legacy completions, with vLLM's extensions. */
export const CompletionRequest = Type.Object({
  model: modelField,
  prompt: Type.Union(
    [Type.String(), TokenIds, Type.Array(Type.String(), { minItems: 1 }), Type.Array(TokenIds, { minItems: 1 })],
    { expected: 'a string, an array of strings, an array of token ids, or an array of arrays of token ids; not empty' },
  ),
  best_of: field(Type.Integer({ minimum: 0, maximum: 20 }), 'an integer from 0 to 20'),
  echo: flag(),
  logprobs: integerFrom(0, 5),
  max_tokens: tokenCount(),
  suffix: text(),
  ...samplingFields,
  ...streamFields,
  ...extensionFields,
  ...constraintFields,
});
export type CompletionRequest = Static<typeof CompletionRequest>;
