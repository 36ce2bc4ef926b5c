/** Requests that use every field of the API, and what their answers must show; made by both OpenAI clients. */
import assert from 'node:assert/strict';

export type Endpoint = 'completions' | 'chat' | 'responses';

/** What a client reads from an answer, the same for all endpoints and clients, streamed or not. */
export type Answer =
  | {
      readonly kind: 'answer';
      readonly texts: readonly string[];
      readonly reasons: readonly string[];
      /** Names of the functions called, by choice. */
      readonly calls: readonly (readonly string[])[];
      /** Texts of the tokens that have log-probabilities, by choice; null where there are none. */
      readonly tokens: readonly (readonly string[] | null)[];
      /** Ids of the generated tokens, by choice; null where they weren't asked for. */
      readonly ids: readonly (readonly number[] | null)[];
      /** Tokens of prompt and completion. */
      readonly usage: readonly [number, number];
    }
  | { readonly kind: 'error'; readonly status: number; readonly code: string; readonly param: string | null };
type Success = Extract<Answer, { kind: 'answer' }>;

export type ConformanceCase = {
  readonly endpoint: Endpoint;
  readonly body: Readonly<Record<string, unknown>>;
  /** What can't be streamed is asked for as a whole only. */
  readonly isWholeOnly?: true;
  /** Checks an answer, given that of the same request without the fields in question. */
  readonly check: (answer: Answer, plain: Success) => void;
};

const accepted =
  (check: (answer: Success, plain: Success) => void = () => {}): ConformanceCase['check'] =>
  (answer, plain) => {
    assert.ok(answer.kind === 'answer', JSON.stringify(answer));
    check(answer, plain);
  };
const refused =
  (param: string, code = 'unsupported_parameter'): ConformanceCase['check'] =>
  (answer) =>
    assert.deepEqual(answer, { kind: 'error', status: 400, code, param });
const same = accepted((answer, plain) => assert.deepEqual(answer.texts, plain.texts));
const choices = (count: number) => accepted((answer) => assert.equal(answer.texts.length, count));

/** Fields that all endpoints have. Under a greedy choice those that shape probabilities alone change nothing. */
const shared = (parisId: number): readonly (readonly [object, ConformanceCase['check']])[] => [
  [{ temperature: 1, top_p: 0.000001 }, same],
  [{ temperature: 1, top_k: 1 }, same],
  [{ temperature: 1, min_p: 1 }, same],
  [{ temperature: 1, seed: 7 }, accepted()],
  [{ user: 'alice' }, same],
  [{ repetition_penalty: 1.5 }, accepted()],
  [{ ignore_eos: true, min_tokens: 2 }, accepted(({ usage }) => assert.ok(usage[1] >= 2))],
  [{ stop_token_ids: [parisId] }, accepted(({ texts }) => assert.doesNotMatch(texts[0] ?? '', /Paris/))],
  [
    { stop_token_ids: [parisId], include_stop_str_in_output: true },
    accepted(({ texts }) => assert.match(texts[0] ?? '', /Paris$/)),
  ],
  [{ skip_special_tokens: false, priority: -1 }, accepted()],
  [{ cache_salt: 'pepper' }, same],
  [{ cost: true }, same],
  // The prompts are shorter than a window of pruning.
  [{ token_pruning: { keep: 0.5 } }, same],
];

/** Fields of both older endpoints. */
const older = (parisId: number): readonly (readonly [object, ConformanceCase['check']])[] => [
  [{ n: 2, temperature: 1, seed: 1 }, choices(2)],
  [
    { stop: ' Paris' },
    accepted(({ texts, reasons }) => assert.ok(!texts[0]?.includes('Paris') && reasons[0] === 'stop')),
  ],
  [
    { stop: ['nothing of it', ' Paris'], include_stop_str_in_output: true },
    accepted(({ texts }) => assert.match(texts[0] ?? '', /Paris$/)),
  ],
  [{ presence_penalty: 2 }, accepted()],
  [{ frequency_penalty: -2 }, accepted()],
  [{ logit_bias: { [parisId]: -100 } }, accepted(({ texts }) => assert.doesNotMatch(texts[0] ?? '', / Paris/))],
  [{ return_token_ids: true }, accepted(({ ids, usage }) => assert.equal(ids[0]?.length, usage[1]))],
];

const cities = ['Paris', 'Rome'];
const citySchema = { enum: cities };
const isCity = accepted(({ texts }) => assert.ok(cities.includes(texts[0] ?? ''), texts[0]));
const isJsonCity = accepted(({ texts }) => assert.ok(cities.includes(JSON.parse(texts[0] ?? '')), texts[0]));
const jsonFormat = { type: 'json_schema', name: 'city', schema: citySchema, strict: true };

/** What a text must be, in the words of OpenAI and of vLLM. */
const constraints: readonly (readonly [object, ConformanceCase['check']])[] = [
  [{ response_format: { type: 'json_schema', json_schema: { name: 'city', schema: citySchema } } }, isJsonCity],
  [{ guided_json: citySchema }, isJsonCity],
  [{ guided_regex: 'Paris|Rome' }, isCity],
  [{ guided_choice: cities }, isCity],
  [{ guided_grammar: 'root ::= "Paris" | "Rome"' }, isCity],
  [{ structured_outputs: { choice: cities } }, isCity],
];

const completions: readonly (readonly [object, ConformanceCase['check'], true?])[] = [
  [{ prompt: ['The capital of France is', 'Two and two are'] }, choices(2)],
  [{ prompt: [100, 200, 300] }, accepted(({ usage }) => assert.equal(usage[0], 3))],
  [{ prompt: [[100], [200, 300]], n: 2 }, choices(4)],
  [{ max_tokens: 2 }, accepted(({ usage }) => assert.equal(usage[1], 2))],
  [{ best_of: 3, n: 2, temperature: 1, seed: 5 }, accepted(({ usage }) => assert.ok(usage[1] > 8)), true],
  [{ logprobs: 5 }, accepted(({ tokens, usage }) => assert.equal(tokens[0]?.length, usage[1]))],
  [
    { echo: true, logprobs: 0, max_tokens: 0 },
    accepted((answer) => {
      assert.deepEqual(answer.texts, ['The capital of France is']);
      assert.equal(answer.tokens[0]?.join(''), answer.texts[0]);
      assert.equal(answer.usage[1], 0);
    }),
  ],
  [{ suffix: ' end' }, refused('suffix')],
];

const weather = {
  name: 'weather',
  description: 'Weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const question = { role: 'user', content: 'What is the capital of France? Answer in one sentence.' };
const call = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Paris"}' } };

const chat: readonly (readonly [object, ConformanceCase['check'], true?])[] = [
  [{ messages: [{ role: 'user', content: [{ type: 'text', text: question.content }] }] }, same],
  [
    {
      messages: [
        { role: 'developer', content: 'Be brief.' },
        { ...question, name: 'bob' },
      ],
    },
    accepted(),
  ],
  [
    {
      messages: [
        question,
        { role: 'assistant', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'call_1', content: '20 °C' },
      ],
    },
    accepted(),
  ],
  [{ messages: [] }, refused('messages', 'invalid_request')],
  [{ max_tokens: 2, max_completion_tokens: null }, accepted(({ usage }) => assert.equal(usage[1], 2))],
  [{ logprobs: true, top_logprobs: 3 }, accepted(({ tokens, usage }) => assert.equal(tokens[0]?.length, usage[1]))],
  [{ tools: [{ type: 'function', function: weather }], tool_choice: 'auto', parallel_tool_calls: false }, accepted()],
  [{ tools: [{ type: 'function', function: weather }], tool_choice: 'none' }, same],
  [{ response_format: { type: 'text' }, modalities: ['text'] }, same],
  [{ add_generation_prompt: false }, accepted()],
  [
    { messages: [question, { role: 'assistant', content: 'The capital of France is' }], continue_final_message: true },
    accepted(({ texts }) => assert.match(texts[0] ?? '', /^ Paris/)),
  ],
  [{ chat_template_kwargs: { enable_thinking: false } }, same],
  [{ metadata: { a: 'b' }, store: false, service_tier: 'auto' }, same],
  [{ audio: { voice: 'alloy', format: 'wav' } }, refused('audio')],
  [{ modalities: ['audio'] }, refused('modalities')],
  [{ functions: [weather] }, refused('functions')],
  [{ function_call: 'auto' }, refused('function_call')],
];

const responses: readonly (readonly [object, ConformanceCase['check'], true?])[] = [
  [{ input: [{ role: 'user', content: [{ type: 'input_text', text: question.content }] }] }, same],
  [{ instructions: 'Answer in one word.' }, accepted()],
  [
    { max_output_tokens: 2 },
    accepted(({ reasons, usage }) => assert.deepEqual([reasons, usage[1]], [['incomplete'], 2])),
  ],
  [{ metadata: { a: 'b' }, text: { format: { type: 'text' } } }, same],
  [{ tools: [{ type: 'function', ...weather, strict: false }], tool_choice: 'none', parallel_tool_calls: true }, same],
  [{ text: { format: jsonFormat } }, isJsonCity],
  [{ top_logprobs: 2 }, accepted(({ tokens, usage }) => assert.equal(tokens[0]?.length, usage[1]))],
  [{ return_token_ids: true }, same],
  [{ previous_response_id: 'resp_1' }, refused('previous_response_id')],
  [{ conversation: 'conv_1' }, refused('conversation')],
  [{ prompt: { id: 'pmpt_1' } }, refused('prompt')],
  [{ background: true }, refused('background')],
];

/** The requests without any further field. */
export const plainBodies: Readonly<Record<Endpoint, Readonly<Record<string, unknown>>>> = {
  completions: { model: 'default', prompt: 'The capital of France is', max_tokens: 8, temperature: 0 },
  chat: { model: 'default', messages: [question], max_completion_tokens: 12, temperature: 0 },
  responses: { model: 'default', input: question.content, max_output_tokens: 12, temperature: 0 },
};

/** `parisId` is the token of ` Paris`, which all plain answers begin with or contain. */
export function conformanceCases(parisId: number): readonly ConformanceCase[] {
  const rows = {
    completions: [...completions, ...constraints, ...older(parisId), ...shared(parisId)],
    chat: [...chat, ...constraints, ...older(parisId), ...shared(parisId)],
    responses: [...responses, ...shared(parisId)],
  };
  return (['completions', 'chat', 'responses'] as const).flatMap((endpoint) => [
    { endpoint, body: plainBodies[endpoint], check: accepted(({ texts }) => assert.match(texts[0] ?? '', /Paris/)) },
    ...rows[endpoint].map(([fields, check, isWholeOnly]) => ({
      ...{ endpoint, check, body: { ...plainBodies[endpoint], ...fields } },
      ...(isWholeOnly === true ? { isWholeOnly } : {}),
    })),
  ]);
}
