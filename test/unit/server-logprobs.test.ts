import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogprobsWriter } from '../../src/server/completions/logprobs.js';
import { createFakeTokenizer, FAKE_BOS, FAKE_END, fakeLogprob } from '../support/fake-engine.js';
import { complete, createFakeServer } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi' };
const code = (letter: string): number => letter.charCodeAt(0);

test('logprobs list the tokens, the likeliest alternatives and the token itself', async () => {
  const response = await complete(createFakeServer(), { ...base, max_tokens: 2, logprobs: 1 });
  // The fake's likeliest token is always id 0.
  const best = { '\u0000': fakeLogprob(0) };
  assert.deepEqual(response.json().choices[0].logprobs, {
    text_offset: [0, 1],
    token_logprobs: [fakeLogprob(code('a')), fakeLogprob(code('b'))],
    tokens: ['a', 'b'],
    top_logprobs: [
      { ...best, a: fakeLogprob(code('a')) },
      { ...best, b: fakeLogprob(code('b')) },
    ],
  });
});

test('logprobs 0 still reports the token itself', async () => {
  const response = await complete(createFakeServer(), { ...base, max_tokens: 1, logprobs: 0 });
  const { logprobs } = response.json().choices[0];
  assert.deepEqual(logprobs.top_logprobs, [{ a: fakeLogprob(code('a')) }]);
});

test('echo with max_tokens 0 scores the prompt; its first token has no log-probability', async () => {
  const server = createFakeServer();
  const response = await complete(server, { ...base, prompt: 'xyz', max_tokens: 0, echo: true, logprobs: 0 });
  const [choice] = response.json().choices;
  assert.equal(choice.text, 'xyz');
  assert.deepEqual(choice.logprobs, {
    text_offset: [0, 1, 2],
    token_logprobs: [null, fakeLogprob(code('y')), fakeLogprob(code('z'))],
    tokens: ['x', 'y', 'z'],
    top_logprobs: [null, { y: fakeLogprob(code('y')) }, { z: fakeLogprob(code('z')) }],
  });
  assert.equal(server.engine.submitted[0]?.scorePrompt, true);
});

test('an evaluation harness finds prompt and continuation in one list', async () => {
  // What lm-evaluation-harness sends for a context of ids.
  const body = { prompt: [[104, 105, 33]], temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
  const response = await complete(createFakeServer(), { model: 'fake-model', ...body });
  const { tokens, token_logprobs: logprobs, top_logprobs: top } = response.json().choices[0].logprobs;
  assert.deepEqual(tokens, ['h', 'i', '!', 'a']);
  assert.equal(logprobs.length, 4);
  assert.equal(top.length, 4);
});

test('offsets count code points, and bytes within a character share its offset', async () => {
  const server = createFakeServer({ continuation: () => 'é😀z' });
  const response = await complete(server, { ...base, prompt: 'ü', max_tokens: 7, logprobs: 0, echo: true });
  const [choice] = response.json().choices;
  assert.equal(choice.text, 'üé😀z');
  // Two bytes of ü, two of é, four of the emoji, one of z.
  assert.deepEqual(choice.logprobs.text_offset, [0, 0, 1, 1, 2, 2, 2, 2, 3]);
  assert.equal(choice.logprobs.tokens[0], 'bytes:\\xc3');
});

test('a BOS token that the text lacks takes no room in the offsets', async () => {
  const server = createFakeServer({ tokenizer: createFakeTokenizer({ addBos: true }) });
  const response = await complete(server, { ...base, prompt: 'hi', max_tokens: 1, logprobs: 0, echo: true });
  const [choice] = response.json().choices;
  assert.equal(choice.text, 'hia');
  assert.deepEqual(choice.logprobs.tokens, ['<|bos|>', 'h', 'i', 'a']);
  assert.deepEqual(choice.logprobs.text_offset, [0, 0, 1, 2]);
});

test('a generated special token has a name but takes no room', () => {
  const writer = new LogprobsWriter(createFakeTokenizer());
  const entries = [97, FAKE_END, 98].map((tokenId) => ({ tokenId, logprob: -1, top: [] }));
  const { tokens, text_offset: offsets } = writer.writeCompletion(entries);
  assert.deepEqual(tokens, ['a', '<|end|>', 'b']);
  assert.deepEqual(offsets, [0, 1, 1]);
});

test('a special token in an echoed prompt of ids is part of the text', async () => {
  const response = await complete(createFakeServer(), {
    ...base,
    prompt: [FAKE_BOS, 97],
    max_tokens: 0,
    logprobs: 0,
    echo: true,
  });
  const [choice] = response.json().choices;
  assert.equal(choice.text, '<|bos|>a');
  assert.deepEqual(choice.logprobs.text_offset, [0, 7]);
});

test('minus infinity becomes -9999', () => {
  const writer = new LogprobsWriter(createFakeTokenizer());
  const top = [{ tokenId: 98, logprob: Number.NEGATIVE_INFINITY }];
  const body = writer.writeCompletion([{ tokenId: 97, logprob: Number.NEGATIVE_INFINITY, top }]);
  assert.deepEqual(body.token_logprobs, [-9999]);
  assert.deepEqual(body.top_logprobs, [{ b: -9999, a: -9999 }]);
});

test('a long prompt is scored whole', async () => {
  // More entries than a call can have arguments.
  const prompt = Array(200_000).fill(97);
  const server = createFakeServer({ contextTokensMax: 300_000 });
  const response = await complete(server, { ...base, prompt, max_tokens: 2, logprobs: 0, echo: true });
  const { logprobs } = response.json().choices[0];
  assert.equal(logprobs.tokens.length, 200_002);
  assert.equal(logprobs.text_offset.at(-1), 200_001);
});
