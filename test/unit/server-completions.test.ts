import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { NibbleError } from '../../src/errors.js';
import { CompletionBody } from '../../src/server/schemas/completion-response.js';
import { createFakeTokenizer, FAKE_BOS, FAKE_END } from '../support/fake-engine.js';
import { complete, createFakeServer, sseData } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi' };
const idsOf = (text: string): number[] => [...new TextEncoder().encode(text)];

test('a response has exactly the shape of the contract', async () => {
  const server = createFakeServer({ cachedTokens: 1 });
  const before = Math.floor(Date.now() / 1000);
  const response = await complete(server, { ...base, max_tokens: 3 });
  assert.equal(response.status, 200);
  const body = response.json();
  assert.ok(Value.Check(CompletionBody, body), JSON.stringify(body));
  assert.match(body.id, /^cmpl-[0-9a-f]{32}$/);
  assert.ok(body.created >= before && body.created <= before + 5);
  assert.deepEqual(body, {
    id: body.id,
    object: 'text_completion',
    created: body.created,
    model: 'fake-model',
    system_fingerprint: 'fp_fake',
    choices: [{ text: 'abc', index: 0, logprobs: null, finish_reason: 'length' }],
    usage: {
      prompt_tokens: 2,
      completion_tokens: 3,
      total_tokens: 5,
      prompt_tokens_details: { cached_tokens: 1 },
    },
  });
});

test('defaults, and null meaning the default as in the OpenAI contract', async () => {
  const optional = [
    ...['best_of', 'echo', 'frequency_penalty', 'logit_bias', 'logprobs', 'max_tokens', 'n', 'presence_penalty'],
    ...['seed', 'stop', 'stream', 'stream_options', 'suffix', 'temperature', 'top_p', 'top_k', 'min_p'],
    ...[
      'repetition_penalty',
      'ignore_eos',
      'min_tokens',
      'stop_token_ids',
      'include_stop_str_in_output',
      'skip_special_tokens',
    ],
    ...['return_token_ids', 'priority'],
  ];
  const nulls = Object.fromEntries(optional.map((name) => [name, null]));
  for (const body of [base, { ...base, ...nulls }]) {
    const server = createFakeServer();
    const response = await complete(server, body);
    assert.equal(response.status, 200, response.text);
    assert.equal(server.engine.submitted.length, 1);
    const [request] = server.engine.submitted;
    assert.equal(typeof request?.sampling.seed, 'bigint');
    assert.deepEqual(request, {
      promptIds: Int32Array.from(idsOf('hi')),
      maxTokens: 16,
      sampling: {
        temperature: 1,
        topK: 0,
        topP: 1,
        minP: 0,
        presencePenalty: 0,
        frequencyPenalty: 0,
        repetitionPenalty: 1,
        seed: request?.sampling.seed,
        choice: 0,
        biasIds: new Int32Array(0),
        biasValues: new Float32Array(0),
      },
      stop: [],
      logprobs: null,
      scorePrompt: false,
      ignoreEos: false,
      priority: 0,
      tenant: '',
    });
  }
});

test('every sampling field reaches the engine', async () => {
  const server = createFakeServer();
  const response = await complete(server, {
    ...base,
    max_tokens: 7,
    temperature: 0.5,
    top_p: 0.25,
    top_k: 40,
    min_p: 0.125,
    presence_penalty: -2,
    frequency_penalty: 2,
    repetition_penalty: 1.5,
    seed: -1,
    logit_bias: { 97: -100, 0: 1.5 },
    stop: ['x', 'yz'],
    logprobs: 5,
    echo: true,
    ignore_eos: true,
    min_tokens: 7,
    stop_token_ids: [9, 257, 9],
    include_stop_str_in_output: true,
    skip_special_tokens: false,
    user: 'someone',
    priority: -3,
  });
  assert.equal(response.status, 200, response.text);
  const [request] = server.engine.submitted;
  assert.deepEqual(request, {
    promptIds: Int32Array.from(idsOf('hi')),
    maxTokens: 7,
    sampling: {
      temperature: 0.5,
      topK: 40,
      topP: 0.25,
      minP: 0.125,
      presencePenalty: -2,
      frequencyPenalty: 2,
      repetitionPenalty: 1.5,
      // −1 as an unsigned 64-bit number.
      seed: 18446744073709551615n,
      choice: 0,
      // JSON objects list integer keys in ascending order.
      biasIds: Int32Array.of(0, 97),
      biasValues: Float32Array.of(1.5, -100),
    },
    stop: ['x', 'yz'],
    logprobs: 5,
    scorePrompt: true,
    ignoreEos: true,
    priority: -3,
    tenant: 'someone',
    minTokens: 7,
    stopIds: new Set([9, 257]),
    includeStop: true,
    keepSpecial: true,
  });
});

test('best_of returns the n sequences with the best mean log-probability, best first, and counts them all', async () => {
  // The log-probability of a byte falls with its value: choice 2 is the best, then 1 and 3 (alike), then 0.
  const texts = ['zz', 'cb', 'aaaa', 'bc'];
  const server = createFakeServer({ continuation: ({ sampling }) => texts[sampling.choice] ?? '' });
  const response = await complete(server, { ...base, prompt: ['one', 'two'], n: 2, best_of: 4, max_tokens: 4 });
  const { choices, usage } = response.json();
  assert.deepEqual(
    choices.map(({ index, text, logprobs }: { index: number; text: string; logprobs: null }) => [
      index,
      text,
      logprobs,
    ]),
    [
      [0, 'aaaa', null],
      [1, 'cb', null],
      [2, 'aaaa', null],
      [3, 'cb', null],
    ],
  );
  assert.equal(usage.completion_tokens, 2 * (2 + 2 + 4 + 2));
  assert.equal(usage.prompt_tokens, 6);
  const shown = await complete(server, { ...base, best_of: 4, max_tokens: 4, logprobs: 1 });
  assert.deepEqual(shown.json().choices[0].logprobs.tokens, ['a', 'a', 'a', 'a']);
});

test('suffix fills the gap with the tokens that the model has for it', async () => {
  const infill = { prefixId: 1, suffixId: 2, middleId: 3 };
  const server = createFakeServer({ infill, tokenizer: createFakeTokenizer({ addBos: true }) });
  // What looks like a special token is text here: `<|end|>` is 7 bytes.
  await complete(server, { ...base, prompt: ['a', '<|end|>'], suffix: 'z' });
  await complete(server, { ...base, prompt: [97, 98], suffix: 'z' });
  assert.deepEqual(
    server.engine.submitted.map((request) => [...request.promptIds]),
    [
      [FAKE_BOS, 1, 97, 2, 122, 3],
      [FAKE_BOS, 1, ...idsOf('<|end|>'), 2, 122, 3],
      [FAKE_BOS, 1, 97, 98, 2, 122, 3],
    ],
  );
});

test('return_token_ids adds the ids of prompt and completion', async () => {
  const body = { ...base, n: 2, max_tokens: 2, return_token_ids: true, echo: true };
  const whole = (await complete(createFakeServer(), body)).json().choices;
  assert.deepEqual([whole[1].token_ids, whole[1].prompt_token_ids], [idsOf('bc'), idsOf('hi')]);
  const stream = await complete(createFakeServer(), { ...body, stream: true });
  const chunks = sseData(stream.text).slice(0, -1);
  const own = chunks.map((data) => JSON.parse(data).choices[0]).filter((choice) => choice.index === 1);
  assert.deepEqual(
    own.flatMap((choice) => choice.token_ids),
    idsOf('bc'),
  );
  assert.deepEqual(
    own.map((choice) => choice.prompt_token_ids),
    [idsOf('hi'), ...own.slice(1).map(() => undefined)],
  );
});

test('values at the edges of their ranges are accepted', async () => {
  const server = createFakeServer();
  const edges: readonly object[] = [
    { temperature: 0 },
    { temperature: 2 },
    { top_p: 0 },
    { min_p: 1 },
    { max_tokens: 0 },
    { max_tokens: 1e15 },
    { logprobs: 0 },
    { n: 128, max_tokens: 1 },
    { n: 2, best_of: 2 },
    { top_k: -1 },
    { stop: [] },
    { stop: 'x'.repeat(256) },
    { seed: 2 ** 53 },
    { suffix: '' },
    { logit_bias: {} },
    { stream_options: null },
    { model: 'default' },
  ];
  for (const edge of edges) {
    const response = await complete(server, { ...base, ...edge });
    assert.equal(response.status, 200, `${JSON.stringify(edge)}: ${response.text}`);
  }
});

test('without a seed two requests get different ones; with a seed, the same', async () => {
  const server = createFakeServer();
  for (const extra of [{}, {}, { seed: 5 }, { seed: 5 }]) await complete(server, { ...base, ...extra });
  const seeds = server.engine.submitted.map((request) => request.sampling.seed);
  assert.notEqual(seeds[0], seeds[1]);
  assert.deepEqual(seeds.slice(2), [5n, 5n]);
});

test('choices are numbered prompt by prompt, and count prompts once', async () => {
  const server = createFakeServer({ cachedTokens: 2 });
  const response = await complete(server, {
    ...base,
    prompt: ['one', 'three'],
    n: 2,
    max_tokens: 2,
    seed: 9,
    echo: true,
  });
  const body = response.json();
  const { submitted } = server.engine;
  assert.deepEqual(
    submitted.map(({ promptIds, sampling }) => [Buffer.from(promptIds).toString(), sampling.choice, sampling.seed]),
    [
      ['one', 0, 9n],
      ['one', 1, 9n],
      ['three', 0, 9n],
      ['three', 1, 9n],
    ],
  );
  // The fake continues choice c with the c-th letter.
  assert.deepEqual(
    body.choices.map(({ index, text }: { index: number; text: string }) => [index, text]),
    [
      [0, 'oneab'],
      [1, 'onebc'],
      [2, 'threeab'],
      [3, 'threebc'],
    ],
  );
  assert.deepEqual(body.usage, {
    prompt_tokens: 3 + 5,
    completion_tokens: 4 * 2,
    total_tokens: 16,
    prompt_tokens_details: { cached_tokens: 2 * 2 },
  });
});

test('the four forms of a prompt', async () => {
  const forms: readonly (readonly [unknown, readonly (readonly number[])[]])[] = [
    ['é', [[0xc3, 0xa9]]],
    [
      ['a', 'b'],
      [[97], [98]],
    ],
    [[1, 2, 3], [[1, 2, 3]]],
    [
      [[1, 2], [3]],
      [[1, 2], [3]],
    ],
    ['<|end|>x', [[FAKE_END, 120]]],
    // Nothing to go on: the BOS token stands in.
    ['', [[FAKE_BOS]]],
  ];
  for (const [prompt, expected] of forms) {
    const server = createFakeServer();
    const response = await complete(server, { ...base, prompt });
    assert.equal(response.status, 200, response.text);
    assert.deepEqual(
      server.engine.submitted.map((request) => [...request.promptIds]),
      expected,
    );
  }
});

test('text prompts get the special tokens of the model, id prompts do not', async () => {
  const server = createFakeServer({ tokenizer: createFakeTokenizer({ addBos: true }) });
  await complete(server, { ...base, prompt: 'a' });
  await complete(server, { ...base, prompt: [97] });
  assert.deepEqual(
    server.engine.submitted.map((request) => [...request.promptIds]),
    [[FAKE_BOS, 97], [97]],
  );
});

test('an empty text without a BOS token is refused', async () => {
  const server = createFakeServer({ tokenizer: createFakeTokenizer({ bosId: null }) });
  const response = await complete(server, { ...base, prompt: ['x', ''] });
  assert.equal(response.status, 400);
  assert.equal(response.json().error.param, 'prompt');
});

test('only prompts over 4096 bytes together are tokenized off the event loop', async () => {
  const server = createFakeServer({ contextTokensMax: 10_000 });
  await complete(server, { ...base, prompt: 'x'.repeat(4096) });
  assert.deepEqual(server.longTexts, []);
  // 2049 characters of two bytes.
  await complete(server, { ...base, prompt: 'é'.repeat(2049) });
  assert.equal(server.longTexts.length, 1);
  const many = ['a'.repeat(4000), 'b'.repeat(97)];
  await complete(server, { ...base, prompt: many });
  assert.deepEqual(server.longTexts.slice(1), many);
});

test('echo returns the prompt before the completion', async () => {
  const server = createFakeServer();
  const echo = { echo: true, max_tokens: 2 };
  const text = await complete(server, { ...base, prompt: 'Grüße: ', ...echo });
  assert.equal(text.json().choices[0].text, 'Grüße: ab');
  const ids = await complete(server, { ...base, prompt: [FAKE_BOS, 0xc3, 0xa9], ...echo });
  assert.equal(ids.json().choices[0].text, '<|bos|>éab');
  const alone = await complete(server, { ...base, echo: true, max_tokens: 0 });
  const [choice] = alone.json().choices;
  assert.deepEqual([choice.text, choice.finish_reason], ['hi', 'length']);
  assert.equal(alone.json().usage.completion_tokens, 0);
});

test('a stop ends with the reason stop', async () => {
  const response = await complete(createFakeServer(), { ...base, max_tokens: 10, stop: 'de' });
  const [choice] = response.json().choices;
  assert.deepEqual([choice.text, choice.finish_reason], ['abc', 'stop']);
});

test('unknown fields are accepted and named in the log, without their values', async () => {
  const server = createFakeServer();
  const response = await complete(server, { ...base, no_stop_trim: true, return_hidden_states: 'hush-hush' });
  assert.equal(response.status, 200);
  const line = server.log.find((text) => text.includes('fields ignored')) ?? '';
  assert.deepEqual(JSON.parse(line).fields, ['no_stop_trim', 'return_hidden_states']);
  assert.ok(!server.log.join('').includes('hush-hush'));
});

test('errors of the engine go out with their status, their field and when to retry', async () => {
  const refusals: readonly (readonly [Error, number, string, string | null, string | undefined])[] = [
    [new NibbleError('queue_full', { waiting: 9 }, { retryAfterSeconds: 7 }), 429, 'queue_full', null, '7'],
    [new NibbleError('queue_full', { waiting: 9 }), 429, 'queue_full', null, '1'],
    [
      new NibbleError('kv_capacity_exceeded', { neededTokens: 9, capacityTokens: 8 }),
      400,
      'kv_capacity_exceeded',
      'max_tokens',
      undefined,
    ],
    [new Error('secret detail'), 500, 'internal', null, undefined],
  ];
  for (const [error, status, code, param, retryAfter] of refusals) {
    const server = createFakeServer({ refuse: () => error });
    for (const stream of [false, true]) {
      const response = await complete(server, { ...base, stream });
      assert.equal(response.status, status);
      assert.equal(response.headers['retry-after'], retryAfter);
      const body = response.json();
      assert.deepEqual(Object.keys(body.error).sort(), ['code', 'message', 'param', 'type']);
      assert.deepEqual([body.error.code, body.error.param], [code, param]);
      assert.ok(!response.text.includes('secret'));
    }
  }
});

test('a prompt that fills the context is refused, not cut', async () => {
  const server = createFakeServer({ contextTokensMax: 8 });
  const response = await complete(server, { ...base, prompt: 'x'.repeat(8) });
  assert.equal(response.status, 400);
  assert.deepEqual([response.json().error.code, response.json().error.param], ['context_length_exceeded', 'prompt']);
});

test('one failing choice fails the response and ends the others', async () => {
  const error = new NibbleError('not_finite', {});
  const server = createFakeServer({ failAfter: { choice: 1, tokens: 2, error } });
  const response = await complete(server, { ...base, n: 3, max_tokens: 400 });
  assert.equal(response.status, 500);
  assert.equal(response.json().error.code, 'not_finite');
  assert.ok(server.engine.signals.every((signal) => signal.aborted));
});
