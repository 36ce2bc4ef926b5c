/** What is fuzzed: everything that reads what somebody else has written. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { NibbleError } from '../../src/errors.js';
import { grammarOf } from '../../src/grammar/source.js';
import { type Constraint, ConstraintError } from '../../src/grammar/types.js';
import { GRAMMAR_RULES_BYTES_MAX } from '../../src/limits.js';
import { modelOf } from '../../src/model/gguf.js';
import { parseGgufHeader, readGgufHeader } from '../../src/model/gguf-reader.js';
import { parseRecipeText } from '../../src/model/recipe.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { TokenizerMetadata } from '../../src/model/types.js';
import { namedRecipes } from '../../src/quant/named-recipes.js';
import { createFakeServer, type FakeServer } from '../support/fake-server.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { byteLevel, parsing, plain, sentencePiece } from '../support/tokenizer-vocabularies.js';
import type { Target } from './loop.js';

/** Runs what may refuse its input, with an error of the class expected (then false); any other error is a finding. */
async function refusable(work: () => unknown, isRefusal: (error: unknown) => boolean): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return false;
  }
}
const isCoded = (error: unknown) => error instanceof NibbleError && error.code !== 'internal';
const check = (isTrue: boolean, what: string): void => {
  if (!isTrue) throw new Error(what);
};
const json = (...values: readonly unknown[]): Buffer[] => values.map((value) => Buffer.from(JSON.stringify(value)));

/** Stands for the weights of the model: they are the addon's business (the target `native` of tools/fuzz.mjs). */
const weights = Buffer.alloc(1 << 17);

/** Headers, in memory: what a file system takes for each input is a hundred times what reading it takes. */
const gguf: Target = {
  words: ['GGUF', 'general.alignment', 'llama.context_length', 'tokenizer.ggml.tokens', 'nibble.recipe'],
  seeds: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nibble-fuzz-'));
    const seeds: Buffer[] = [];
    for (const architecture of ['llama', 'qwen2', 'qwen3'] as const) {
      const path = join(folder, 'model.gguf');
      await writeTinyModel(path, { architecture, layers: 1, hidden: 32, ffn: 32, vocab: 272 });
      seeds.push(readFileSync(path).subarray(0, (await readGgufHeader(path)).dataOffset));
    }
    rmSync(folder, { recursive: true });
    return seeds;
  },
  run: (input) => {
    const bytes = Buffer.concat([input, weights]);
    return refusable(() => modelOf(parseGgufHeader('fuzz.gguf', bytes, bytes.length)), isCoded);
  },
};

const vocabularies: readonly TokenizerMetadata[] = [
  byteLevel({ merges: ['a b', 'ab ab', 'x x'], control: ['<|im_start|>', '<|im_end|>'], userDefined: ['  '] }),
  byteLevel({ pre: 'llama-bpe', merges: ['l l', 'll o', "' s"] }),
  byteLevel({ pre: 'qwen2', merges: ['0 0'] }),
  sentencePiece({ pieces: { ab: -1, abab: -2, '▁a': -3 } }),
];
const tokenizers = vocabularies.map(createTokenizer);

/** The first byte chooses the vocabulary; the rest is the text. What goes in as text comes out as it was. */
const tokenizer: Target = {
  words: ['<|im_start|>', '▁', "'s", '\u0301', '\ufeff', '\u200d', '  ', '\r\n', '\ud800'],
  seeds: () => tokenizers.map((_, i) => Buffer.from(`${i} abab, x's 123\n\n  é中😀 <|im_start|>`)),
  run: (input) => {
    const which = (input[0] ?? 0) % tokenizers.length;
    const { encode, decode, vocabSize, createDetokenizer } = bound(which);
    const text = input.toString('utf8', 1);
    const ids = encode(text, plain);
    check(
      ids.every((id) => id >= 0 && id < vocabSize),
      'an id is outside the vocabulary',
    );
    const pieces = createDetokenizer(true);
    const joined = [...ids].map((id) => pieces.push(id)).join('') + pieces.flush();
    check(joined === decode(ids, true), 'pieces do not make the whole');
    // Qwen 2 composes characters first; SentencePiece puts spaces for its mark.
    const known = which === 2 ? text.normalize('NFC') : text;
    if (which < 3) check(joined === known, 'text is not what it was');
    encode(text, parsing);
  },
};
const bound = (which: number) => {
  const chosen = tokenizers[which] as (typeof tokenizers)[number];
  return {
    vocabSize: chosen.vocabSize,
    encode: chosen.encode.bind(chosen),
    decode: chosen.decode.bind(chosen),
    createDetokenizer: chosen.createDetokenizer.bind(chosen),
  };
};

const chatml =
  "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m.content|trim }}{% endfor %}{% if tools %}x{% endif %}";
const globals = Object.getOwnPropertyNames(Object.prototype).length;

/** An error or a text, and nothing of JavaScript has changed. What runs long meets the deadline of the real thread. */
const template: Target = {
  words: [
    '{{',
    '}}',
    '{%',
    '%}',
    '{#',
    ' for ',
    ' in ',
    ' set ',
    ' if ',
    '|tojson',
    '|join',
    '__proto__',
    'constructor',
    '.',
    '[0:1]',
    'namespace(',
    'messages',
    'loop.index',
    'macro f()',
    'endmacro',
    'is defined',
  ],
  seeds: () =>
    [chatml, '{% set ns = namespace(a=1) %}{% set ns.a = messages|length %}{{ ns.a ~ tools|tojson }}'].map((text) =>
      Buffer.from(text),
    ),
  run: async (input) => {
    const source = input.toString('utf8').slice(0, 2000);
    if (/\d{4}/.test(source)) return;
    const variables = { messages: [{ role: 'user', content: 'Hi' }], tools: null, add_generation_prompt: true };
    await refusable(
      () => check(typeof new Template(source).render(variables) === 'string', 'what is rendered is no text'),
      (error) => error instanceof Error && error.message !== 'what is rendered is no text',
    );
    check(Object.getOwnPropertyNames(Object.prototype).length === globals, 'a template has changed all objects');
  },
};

let server: FakeServer | null = null;
const routes = ['/v1/completions', '/v1/chat/completions', '/v1/responses', '/tokenize', '/detokenize'] as const;
const base = { model: 'fake-model', max_tokens: 2 };
const user = { role: 'user', content: [{ type: 'text', text: 'Hi' }] };
const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: {} } } } };

/** The first byte chooses the route; the rest is the body. Everything is answered, by the request's fault or none. */
const requests: Target = {
  words: [
    '"prompt":',
    '"messages":',
    '"stop":[',
    '"logit_bias":{',
    '"response_format":',
    '"cache_salt":',
    'null',
    'true',
    '[[',
    '{}',
    '"__proto__":',
    '"stream":true',
    '"n":',
    '"tools":[',
    '1e308',
    '-0.0',
  ],
  seeds: () =>
    json(
      { ...base, prompt: 'Hi', stop: ['x'], logit_bias: { 5: 1 }, seed: 1, n: 2, logprobs: 1, cache_salt: 'a' },
      { ...base, messages: [user], tools: [tool], tool_choice: 'auto', response_format: { type: 'json_object' } },
      { model: 'fake-model', input: [{ role: 'user', content: 'Hi' }], max_output_tokens: 2, tools: [] },
      { prompt: 'Hi', return_token_strs: true },
      { tokens: [1, 2, 3] },
    ).map((body, i) => Buffer.concat([Buffer.of(i), body])),
  run: async (input) => {
    server ??= createFakeServer();
    const url = routes[(input[0] ?? 0) % routes.length] as string;
    const headers = { 'content-type': 'application/json' };
    const response = await server.app.inject({ method: 'POST', url, headers, payload: input.subarray(1) });
    server.engine.submitted.length = 0;
    server.log.length = 0;
    check(response.statusCode < 500, `${response.statusCode}: ${response.body.slice(0, 200)}`);
    if (response.statusCode >= 400) check(typeof response.json().error.code === 'string', response.body);
  },
};

const kinds: readonly ((text: string) => Constraint)[] = [
  (schema) => ({ kind: 'json_schema', schema }),
  (pattern) => ({ kind: 'regex', pattern }),
  (text) => ({ kind: 'choice', choices: text.split('|') }),
];

/** The first byte chooses between schema, pattern and choice. Rules within their bound, or a refusal. */
const grammar: Target = {
  words: [
    '"$ref":"#/$defs/a"',
    '"$defs":{"a":',
    '"type":',
    '"enum":[',
    '"pattern":"',
    '"minLength":',
    '"maximum":',
    '"anyOf":[',
    '"required":[',
    '{2,5}',
    '(?:',
    '[^a-z]',
    '\\d',
    '\\u{1f600}',
    '\\p{L}',
    '(?=',
    '|',
    '*',
    '+?',
  ],
  seeds: () => [
    ...json(
      {
        type: 'object',
        properties: { a: { type: 'string', pattern: '^a+$' }, b: { enum: [1, null] } },
        required: ['a'],
      },
      { $ref: '#/$defs/a', $defs: { a: { anyOf: [{ type: 'integer', minimum: -5, maximum: 70 }, { const: 'x' }] } } },
      {
        type: 'array',
        items: { type: 'number', exclusiveMinimum: 0.5 },
        minItems: 1,
        maxItems: 3,
        prefixItems: [true],
      },
    ).map((schema) => Buffer.concat([Buffer.of(0), schema])),
    Buffer.from('\u0001(a|[b-d]{2,5}|\\d+\\.?)*x$'),
    Buffer.from('\u0002yes|no|"maybe"\\n'),
  ],
  run: (input) => {
    const constraint = kinds[(input[0] ?? 0) % kinds.length]?.(input.toString('utf8', 1));
    if (constraint === undefined) return;
    return refusable(
      () => check(grammarOf(constraint).length <= GRAMMAR_RULES_BYTES_MAX, 'the rules are longer than they may be'),
      (error) => error instanceof ConstraintError,
    );
  },
};

/** A recipe that is taken can be written and taken again. */
const recipe: Target = {
  words: [
    '"classes":{',
    '"layers":{"0":{',
    '"weights":"w4g32"',
    '"rotation":',
    '"tender":{',
    '"pruning":{',
    '"__proto__":',
  ],
  seeds: () => json(...[...namedRecipes.values()].map((named) => named.recipe)),
  run: (input) =>
    refusable(() => {
      const parsed = parseRecipeText(input.toString('utf8'));
      parseRecipeText(JSON.stringify(parsed));
    }, isCoded),
};

export const targets: Readonly<Record<string, Target>> = { gguf, tokenizer, template, requests, grammar, recipe };
