/** Request bodies that are valid but for what chance does to them. */
import type { Random } from '../../src/random.js';

export type FuzzedRequest = { readonly path: string; readonly body: Buffer };

const message = { role: 'user', content: 'Hello' };
const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } };
const sampling = {
  ...{ temperature: 1, top_p: 0.9, n: 1, stop: ['x'], seed: 3, presence_penalty: 1, frequency_penalty: 1, user: 'u' },
  ...{ logit_bias: { 5: 1 }, top_k: 40, min_p: 0.1, repetition_penalty: 1.1, ignore_eos: true, min_tokens: 1 },
  ...{ stop_token_ids: [2], include_stop_str_in_output: true, skip_special_tokens: false, priority: 1 },
};
const seeds: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ['/v1/completions', { model: 'default', prompt: 'Hello', max_tokens: 3, logprobs: 2, echo: true, ...sampling }],
  ['/v1/completions', { model: 'default', prompt: [[1, 2], [3]], max_tokens: 2, best_of: 2, return_token_ids: true }],
  [
    '/v1/completions',
    { model: 'default', prompt: 'Hi', max_tokens: 4, stream: true, stream_options: { include_usage: true } },
  ],
  [
    '/v1/chat/completions',
    {
      model: 'default',
      messages: [message],
      max_tokens: 3,
      logprobs: true,
      top_logprobs: 2,
      tools: [tool],
      ...sampling,
    },
  ],
  ['/v1/chat/completions', { model: 'default', messages: [message], max_completion_tokens: 3, stream: true }],
  [
    '/v1/completions',
    {
      model: 'default',
      prompt: 'Hi',
      max_tokens: 4,
      guided_json: { type: 'object', properties: { a: { type: 'string' } } },
    },
  ],
  ['/v1/completions', { model: 'default', prompt: 'Hi', max_tokens: 4, guided_regex: '(a|b){2,5}[0-9]*' }],
  ['/v1/completions', { model: 'default', prompt: 'Hi', max_tokens: 4, guided_grammar: 'root ::= "a" | root "b"' }],
  [
    '/v1/chat/completions',
    { model: 'default', messages: [message], max_tokens: 3, tools: [tool], tool_choice: 'required' },
  ],
  [
    '/v1/chat/completions',
    {
      ...{ model: 'default', messages: [message], max_tokens: 3 },
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { enum: ['a', 1, null] } } },
    },
  ],
  ['/v1/responses', { model: 'default', input: [message], max_output_tokens: 3, metadata: { a: 'b' }, tools: [] }],
  ['/tokenize', { prompt: 'Hello', add_special_tokens: true, return_token_strs: true }],
  ['/detokenize', { tokens: [1, 2, 3] }],
];

/** Values that code often doesn't expect; those of JSON text only, too. */
const oddities: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -0,
    -1,
    1,
    0.5,
    1e308,
    -1e308,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    1e-320,
    '',
    ' ',
    'null',
    '\u0000',
  ],
  ...[
    '\ud800',
    '\udfff\ud800',
    '😀',
    '__proto__',
    'constructor',
    'x'.repeat(3000),
    '%s%n',
    '../../etc/passwd',
    '<|im_end|>',
  ],
  ...[[], {}, [[]], [null], [[[]]], [{}], { type: 'text' }, { role: 'user' }, Array(200).fill(0), Array(200).fill('x')],
];

const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)] as T;

/** A copy of a value in which one member, at any depth, is another, missing or new. */
function change(random: Random, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random.below(3) === 0) return pick(random, oddities);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.below(4) === 0) return [...value, pick(random, oddities)];
    const at = random.below(value.length);
    return value.map((member: unknown, index) => (index === at ? change(random, member) : member));
  }
  const entries = Object.entries(value);
  const at = random.below(entries.length + 1);
  const [name, member] = entries[at] ?? [String(pick(random, oddities)), 0];
  const rest = entries.filter((_, index) => index !== at);
  return Object.fromEntries(random.below(6) === 0 ? rest : [...rest, [name, change(random, member)]]);
}

/** Bytes flipped, cut out, doubled or put in. */
function damage(random: Random, bytes: Buffer): Buffer {
  const at = random.below(bytes.length + 1);
  const length = random.below(8);
  switch (random.below(5)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at), Buffer.of(random.below(256)), bytes.subarray(at + 1)]);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), Buffer.from('['.repeat(200 * length)), bytes.subarray(at)]);
    default:
      return bytes.subarray(0, at);
  }
}

/** A request that may be valid still, or not at all. */
export function fuzzRequest(random: Random): FuzzedRequest {
  const [path, seed] = pick(random, seeds);
  let value: unknown = seed;
  for (let changes = random.below(3); changes > 0; changes--) value = change(random, value);
  let body = Buffer.from(JSON.stringify(bounded(value)) ?? '');
  if (random.below(3) === 0) body = Buffer.from(damage(random, body));
  return { path, body };
}

/** Answers as long as the context are valid, but a fuzzer that waits for them finds little. */
function bounded(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const short: Record<string, unknown> = { ...value };
  const lengths = ['max_tokens', 'max_completion_tokens', 'max_output_tokens'];
  for (const name of lengths) {
    const length = short[name];
    if (typeof length === 'number' && length > 20) short[name] = 20;
  }
  if (lengths.some((name) => typeof short[name] === 'number')) return short;
  return { ...short, max_tokens: 5, max_output_tokens: 5 };
}
