import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeTokenizer, FAKE_BOS, FAKE_END } from '../support/fake-engine.js';
import { createFakeServer, post } from '../support/fake-server.js';

const tokenizer = createFakeTokenizer({ addBos: true });

test('tokenize and detokenize undo each other', async () => {
  const server = createFakeServer({ tokenizer });
  const prompt = 'é<|end|>';
  const whole = (await post(server, '/tokenize', { prompt, return_token_strs: true })).json();
  assert.deepEqual(whole, {
    count: 4,
    max_model_len: 512,
    tokens: [FAKE_BOS, 0xc3, 0xa9, FAKE_END],
    token_strs: ['<|bos|>', 'bytes:\\xc3', 'bytes:\\xa9', '<|end|>'],
  });
  const bare = (await post(server, '/tokenize', { model: 'fake-model', prompt, add_special_tokens: false })).json();
  assert.deepEqual([bare.tokens, bare.token_strs], [[0xc3, 0xa9, FAKE_END], null]);
  const back = await post(server, '/detokenize', { model: 'default', tokens: bare.tokens });
  assert.deepEqual(back.json(), { prompt });
  assert.deepEqual((await post(server, '/detokenize', { tokens: [] })).json(), { prompt: '' });
});

test('a conversation is tokenized as chat completions would see it', async () => {
  const server = createFakeServer({ tokenizer });
  const messages = [{ role: 'user', content: 'hi' }];
  const tools = [{ type: 'function', function: { name: 'f' } }];
  const prompts = new Set<string>();
  for (const fields of [
    {},
    { chat_template_kwargs: { x: 1 } },
    { tools },
    { add_generation_prompt: false },
    { add_generation_prompt: false, continue_final_message: true },
  ]) {
    const { tokens } = (await post(server, '/tokenize', { messages, ...fields })).json();
    await post(server, '/v1/chat/completions', { model: 'default', messages, ...fields });
    assert.deepEqual(tokens, [...(server.engine.submitted.at(-1)?.promptIds ?? [])]);
    prompts.add(tokens.join());
  }
  assert.equal(prompts.size, 5, 'each field makes another prompt');
});

test('refused, with the field at fault', async () => {
  const server = createFakeServer();
  const cases: readonly (readonly [string, object, number, string | null])[] = [
    ['/tokenize', {}, 400, 'prompt'],
    ['/tokenize', { prompt: 'a', messages: [{ role: 'user', content: 'b' }] }, 400, 'messages'],
    ['/tokenize', { prompt: 5 }, 400, 'prompt'],
    ['/tokenize', { prompt: 'a', model: 'other' }, 404, 'model'],
    ['/detokenize', {}, 400, 'tokens'],
    ['/detokenize', { tokens: [258] }, 400, 'tokens'],
    ['/detokenize', { tokens: ['a'] }, 400, 'tokens'],
    ['/v1/embeddings', { model: 'default', input: 'a' }, 400, 'model'],
  ];
  for (const [url, body, status, param] of cases) {
    const response = await post(server, url, body);
    assert.deepEqual([response.status, response.json().error.param], [status, param], `${url} ${JSON.stringify(body)}`);
  }
});

test('what harnesses and operators ask first', async () => {
  const server = createFakeServer({ chat: null });
  const get = async (url: string) => (await server.app.inject(url)).json();
  assert.deepEqual(await get('/tokenizer_info'), { bos_token: '<|bos|>', eos_token: '<|end|>', chat_template: null });
  assert.deepEqual(await get('/version'), { version: '0.0.0-test' });
  const model = await get('/v1/models/fake-model');
  assert.equal(model.max_model_len, 512);
  assert.deepEqual(model.recipe, { architecture: 'llama', weights: { Q4_1: 1 }, activations: 'a8' });
});
