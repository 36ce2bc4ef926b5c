/** The completions contract on the real model: what a user of curl sees. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import type { Tokenizer } from '../../src/model/types.js';
import { defaultModelPath } from '../support/default-model.js';
import { type Choice, joinText, RealServer } from '../support/real-server.js';

let server: RealServer;
let tokenizer: Tokenizer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '4096'] });
  tokenizer = createTokenizer((await readModelFile(await defaultModelPath())).tokenizer);
});
after(() => server.stop());

const encode = (text: string) => [...tokenizer.encode(text, { addSpecialTokens: true, parseSpecial: true })];
const france = { prompt: 'The capital of France is', max_tokens: 24, temperature: 0 } as const;

/** Log-probabilities of a choice that has them. */
function logprobsOf(choice: Choice): NonNullable<Choice['logprobs']> {
  assert.ok(choice.logprobs);
  return choice.logprobs;
}

test('the model knows the capital of France', async () => {
  const { choices, usage, model } = await server.complete(france);
  assert.match(choices[0]?.text ?? '', /^ Paris\b/);
  assert.equal(choices[0]?.finish_reason, 'length');
  assert.match(model, /SmolLM2/i);
  const prompt = encode(france.prompt).length;
  assert.deepEqual(
    [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
    [prompt, france.max_tokens, prompt + france.max_tokens],
  );
});

test('English is likelier than the same words in disorder', async () => {
  const score = async (prompt: string) => {
    const { token_logprobs: values } = logprobsOf(
      await server.choice({ prompt, max_tokens: 0, echo: true, logprobs: 0 }),
    );
    const known = values.filter((value) => value !== null);
    assert.equal(known.length, values.length - 1);
    return known.reduce((sum, value) => sum + value, 0) / known.length;
  };
  const english = await score('The weather was nice, so we went for a walk in the park and fed the ducks.');
  const disorder = await score('Ducks the so fed, weather walk park and a in the for was the we nice went.');
  // A uniform guess among 49,152 tokens has −10.8.
  assert.ok(english > -4 && disorder < english - 1.5, `${english} ${disorder}`);
});

test('a stream has the text, the log-probabilities and the usage of the unstreamed answer', async () => {
  const body = {
    ...france,
    logprobs: 2,
    prompt: 'Here is a recipe for a na\u00efve cr\u00e8me br\u00fbl\u00e9e \u{1f600}:',
  };
  // Both find the prompt in the cache, so that their usage is the same.
  await server.complete({ ...body, max_tokens: 1 });
  const whole = await server.complete(body);
  const chunks = await server.stream({ ...body, stream_options: { include_usage: true } });
  assert.equal(joinText(chunks), whole.choices[0]?.text);
  assert.deepEqual(chunks.at(-1)?.usage, whole.usage);
  const pieces = chunks.flatMap(({ choices }) => choices).flatMap(({ logprobs }) => logprobs ?? []);
  const expected = logprobsOf(whole.choices[0] as Choice);
  assert.deepEqual(
    {
      text_offset: pieces.flatMap((piece) => piece.text_offset),
      token_logprobs: pieces.flatMap((piece) => piece.token_logprobs),
      tokens: pieces.flatMap((piece) => piece.tokens),
      top_logprobs: pieces.flatMap((piece) => piece.top_logprobs),
    },
    expected,
  );
  const reasons = chunks.flatMap(({ choices }) => choices.map((choice) => choice.finish_reason));
  assert.deepEqual(
    reasons.filter((reason) => reason !== null),
    ['length'],
  );
});

test('n choices differ, a seed repeats them, and the first one is that of n = 1', async () => {
  const body = { prompt: 'Once upon a time', max_tokens: 20, temperature: 1, seed: 42 };
  const texts = async (extra: object) => (await server.complete({ ...body, ...extra })).choices.map(({ text }) => text);
  const first = await texts({ n: 4 });
  assert.equal(new Set(first).size, 4);
  assert.deepEqual(await texts({ n: 4 }), first);
  assert.deepEqual(await texts({}), first.slice(0, 1));
  assert.notDeepEqual(await texts({ seed: 43 }), first.slice(0, 1));
  const chunks = await server.stream({ ...body, n: 4 });
  assert.deepEqual(
    [0, 1, 2, 3].map((index) => joinText(chunks, index)),
    first,
  );
});

test('several prompts are answered in order, each as if it were alone', async () => {
  const prompts = [france.prompt, 'Two plus two equals', 'The opposite of hot is'];
  const together = await server.complete({ ...france, prompt: prompts });
  for (const [index, prompt] of prompts.entries()) {
    assert.equal(together.choices[index]?.text, (await server.choice({ ...france, prompt })).text);
  }
  assert.equal(together.usage.prompt_tokens, prompts.flatMap(encode).length);
  const byIds = await server.complete({ ...france, prompt: prompts.map(encode) });
  assert.deepEqual(byIds.choices, together.choices);
});

test('a stop string ends the text before it', async () => {
  const { text } = await server.choice(france);
  const words = text.split(' ').filter((word) => word.length > 3);
  const stop = words[4] ?? '';
  const stopped = await server.choice({ ...france, stop: ['never seen here', stop] });
  assert.deepEqual([stopped.text, stopped.finish_reason], [text.slice(0, text.indexOf(stop)), 'stop']);
  assert.equal(joinText(await server.stream({ ...france, stop })), stopped.text);
});

test('log-probabilities: greedy takes the likeliest, offsets point at the tokens, probabilities do not exceed one', async () => {
  const choice = await server.choice({ ...france, logprobs: 5 });
  const { tokens, token_logprobs: own, top_logprobs: top, text_offset: offsets } = logprobsOf(choice);
  assert.equal(tokens.join(''), choice.text);
  for (const [i, token] of tokens.entries()) {
    assert.equal(choice.text.slice(offsets[i], (offsets[i] ?? 0) + token.length), token);
    const values = Object.values(top[i] ?? {});
    assert.equal(values.length, 5);
    assert.equal(own[i], Math.max(...values));
    const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
    assert.ok(total > 0 && total < 1 + 1e-5, `${total}`);
  }
});

test('echo returns the prompt before the completion', async () => {
  const { text } = await server.choice(france);
  assert.equal((await server.choice({ ...france, echo: true })).text, france.prompt + text);
  assert.equal(joinText(await server.stream({ ...france, echo: true })), france.prompt + text);
});

test('scoring a text gives the very numbers that generating it gave', async () => {
  const generated = logprobsOf(await server.choice({ ...france, logprobs: 3 }));
  const idOf = new Map(Array.from({ length: tokenizer.vocabSize }, (_, id) => [tokenizer.tokenText(id), id]));
  const prompt = encode(france.prompt);
  const ids = [...prompt, ...generated.tokens.map((token) => idOf.get(token) ?? -1)];
  const { choices, usage } = await server.complete({ prompt: ids, max_tokens: 0, echo: true, logprobs: 3 });
  const scored = logprobsOf(choices[0] as Choice);
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [ids.length, 0]);
  assert.equal(scored.token_logprobs[0], null);
  assert.deepEqual(
    scored.tokens,
    ids.map((id) => tokenizer.tokenText(id)),
  );
  assert.deepEqual(scored.token_logprobs.slice(prompt.length), generated.token_logprobs);
  assert.deepEqual(scored.top_logprobs.slice(prompt.length), generated.top_logprobs);
});

test('logit_bias forbids and forces tokens, and leaves the reported log-probabilities alone', async () => {
  const [paris = -1, ...more] = encode(' Paris');
  assert.deepEqual(more, []);
  const plain = logprobsOf(await server.choice({ ...france, max_tokens: 1, logprobs: 5 }));
  const forbidden = await server.choice({ ...france, max_tokens: 1, logprobs: 5, logit_bias: { [paris]: -100 } });
  assert.notEqual(forbidden.text, ' Paris');
  assert.deepEqual(logprobsOf(forbidden).top_logprobs, plain.top_logprobs);
  const [banana = -1] = encode(' banana');
  const forced = await server.choice({ ...france, max_tokens: 5, logit_bias: { [banana]: 100 } });
  assert.equal(forced.text, ' banana'.repeat(5));
});

test('penalties make repetition rarer', async () => {
  const body = { prompt: 'yes yes yes yes yes yes yes yes', max_tokens: 32, temperature: 0, logprobs: 0 };
  const distinct = async (extra: object) => new Set(logprobsOf(await server.choice({ ...body, ...extra })).tokens).size;
  const plain = await distinct({});
  for (const extra of [{ presence_penalty: 2 }, { frequency_penalty: 2 }, { repetition_penalty: 1.5 }]) {
    assert.ok((await distinct(extra)) > plain, JSON.stringify(extra));
  }
});

test('min_tokens keeps a text from ending, and the model goes on with something else', async () => {
  const body = {
    prompt: '<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n',
    max_tokens: 100,
    temperature: 0,
  };
  const short = await server.complete(body);
  const length = short.usage.completion_tokens;
  assert.equal(short.choices[0]?.finish_reason, 'stop');
  const long = await server.complete({ ...body, min_tokens: length + 5, return_token_ids: true });
  assert.ok(long.usage.completion_tokens > length + 5);
  assert.ok(long.choices[0]?.text.startsWith(short.choices[0]?.text));
  const ids = long.choices[0]?.token_ids ?? [];
  assert.ok(ids.slice(0, length + 5).every((id) => !tokenizer.endIds.has(id)));
});

test('narrow sampling is greedy', async () => {
  const { text } = await server.choice(france);
  for (const extra of [{ top_k: 1 }, { top_p: 0 }, { min_p: 1 }]) {
    assert.equal((await server.choice({ ...france, temperature: 2, ...extra })).text, text, JSON.stringify(extra));
  }
});
