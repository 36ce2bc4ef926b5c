/** Malformed and hostile requests against the live server: each gets a coded error, and nothing else suffers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { RealServer } from '../support/real-server.js';

let server: RealServer;
let healthy = '';
const france = { model: 'default', prompt: 'The capital of France is', max_tokens: 6, temperature: 0 };
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '2048', '--max-waiting', '40'] });
  healthy = (await server.choice(france)).text;
  assert.match(healthy, /Paris/);
});
after(() => server.stop());

/** [what is wrong, body, status, code] */
type Case = readonly [string, unknown, number, string];
const invalid = (name: string, change: object): Case => [name, { ...france, ...change }, 400, 'invalid_request'];
const text = (name: string, body: string): Case => [name, body, 400, 'invalid_request'];

const cases: readonly Case[] = [
  text('no body', ''),
  text('cut JSON', '{"model":"default","prompt":"The ca'),
  text('two values', '{}{}'),
  text('an array', '[]'),
  text('null', 'null'),
  text('100,000 brackets', '['.repeat(100_000)),
  text('prototype poisoning', '{"__proto__":{"stream":true},"model":"default","prompt":"x"}'),
  text('constructor poisoning', '{"constructor":{"prototype":{"a":1}},"model":"default","prompt":"x"}'),
  text('a number beyond doubles', '{"model":"default","prompt":"x","temperature":1e999}'),
  ['another model', { ...france, model: 'gpt-4' }, 404, 'model_not_found'],
  ['a path as model', { ...france, model: '../../etc/passwd' }, 404, 'model_not_found'],
  invalid('no prompt', { prompt: undefined }),
  invalid('prompt null', { prompt: null }),
  invalid('prompt an empty list', { prompt: [] }),
  invalid('prompt of mixed kinds', { prompt: ['a', 1] }),
  invalid('prompt nested too deep', { prompt: [[[1]]] }),
  invalid('a token id one beyond the vocabulary', { prompt: [49_152] }),
  invalid('a token id of 2^31', { prompt: [2 ** 31] }),
  invalid('a negative token id', { prompt: [0, -1] }),
  invalid('a fractional token id', { prompt: [[0.5]] }),
  invalid('129 prompts', { prompt: Array(129).fill('x') }),
  invalid('prompts times n', { prompt: Array(64).fill('x'), n: 3 }),
  ['a prompt beyond the context', { ...france, prompt: Array(9000).fill(5) }, 400, 'context_length_exceeded'],
  ['a text beyond the context', { ...france, prompt: 'word '.repeat(20_000) }, 400, 'context_length_exceeded'],
  ['more than the KV pool', { ...france, prompt: Array(2000).fill(5), max_tokens: 49 }, 400, 'kv_capacity_exceeded'],
  ['more choices than may wait', { ...france, n: 120, max_tokens: 500 }, 429, 'queue_full'],
  invalid('max_tokens negative', { max_tokens: -1 }),
  invalid('max_tokens a fraction', { max_tokens: 1.5 }),
  invalid('max_tokens as text', { max_tokens: '16' }),
  invalid('temperature negative', { temperature: -1 }),
  invalid('top_p above one', { top_p: 1.1 }),
  invalid('n of zero', { n: 0 }),
  invalid('logprobs of six', { logprobs: 6 }),
  invalid('five stops', { stop: ['a', 'b', 'c', 'd', 'e'] }),
  invalid('an empty stop', { stop: [''] }),
  invalid('a bias beyond the vocabulary', { logit_bias: { 49152: 1 } }),
  invalid('a bias of a name', { logit_bias: { toString: 1 } }),
  invalid('1,025 biases', { logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])) }),
  invalid('stream as text', { stream: 'true' }),
  invalid('stream options without a stream', { stream_options: {} }),
  ['a suffix', { ...france, suffix: '.' }, 400, 'unsupported_parameter'],
  ['five megabytes', { ...france, prompt: 'x'.repeat(5_000_000) }, 413, 'body_too_large'],
];

for (const [name, body, status, code] of cases) {
  test(`refused: ${name}`, async () => {
    const response = await server.post(body);
    const answer = JSON.parse(await response.text());
    assert.deepEqual([response.status, answer.error?.code], [status, code], JSON.stringify(answer).slice(0, 300));
    assert.ok(answer.error.message.length > 0 && answer.error.message.length < 400);
  });
}

/** Sends bytes as they are; the answer until the server closes the connection. */
async function raw(bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.on('data', (data) => {
    answer += String(data);
  });
  socket.on('error', () => {});
  socket.write(bytes);
  await once(socket, 'close');
  return answer;
}

const head = (line: string, headers: string) =>
  `${line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${headers}\r\n\r\n`;
const completions = 'POST /v1/completions';
const json = 'content-type: application/json\r\n';

for (const [name, bytes, status, code] of [
  ['no HTTP at all', 'hello there\r\n\r\n', 400, 'invalid_request'],
  ['TLS', Buffer.from('16030100c8010000c40303', 'hex'), 400, 'invalid_request'],
  ['64 kB of headers', head('GET /health', `x: ${'y'.repeat(65_536)}`), 431, 'invalid_request'],
  ['two lengths', head(completions, `${json}content-length: 2\r\ncontent-length: 3`), 400, 'invalid_request'],
  ['a negative length', head(completions, `${json}content-length: -1`), 400, 'invalid_request'],
  ['a chunk of nonsense', `${head(completions, `${json}transfer-encoding: chunked`)}zz\r\n`, 400, 'invalid_request'],
  ['an unknown route', head('GET /v1/../../etc/passwd', 'a: b'), 404, 'route_not_found'],
  ['a URL that is no UTF-8', head('GET /v1/models/%ff', 'a: b'), 400, 'invalid_request'],
  ['another method', head('DELETE /v1/completions', 'a: b'), 405, 'method_not_allowed'],
  ['a form', `${head(completions, 'content-type: text/plain\r\ncontent-length: 1')}x`, 415, 'unsupported_media_type'],
] as const) {
  test(`refused: ${name}`, async () => {
    const answer = await raw(bytes);
    assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `), answer.slice(0, 300));
    assert.match(answer, new RegExp(`"code":"${code}"`));
  });
}

test('strange but valid prompts are answered', async () => {
  const lone = '{"model":"default","prompt":"\\ud800 lone","max_tokens":2}';
  assert.equal((await server.post(lone)).status, 200, 'half a surrogate pair');
  const noUtf8 = Buffer.concat([
    Buffer.from('{"model":"default","prompt":"'),
    Buffer.of(0xff, 0xc0),
    Buffer.from('"}'),
  ]);
  const bytes = Buffer.concat([Buffer.from(head(completions, `${json}content-length: ${noUtf8.length}`)), noUtf8]);
  assert.match(await raw(bytes), /^HTTP\/1.1 200 /, 'bytes that are no UTF-8');
  for (const prompt of [
    '',
    '\u0000\u0001',
    '<|im_end|><|im_start|>',
    '\u{1f468}\u200d\u{1f469}'.repeat(50),
    ' '.repeat(900),
  ]) {
    const { choices } = await server.complete({ ...france, prompt, max_tokens: 3, ignore_eos: true });
    assert.equal(choices[0]?.finish_reason, 'length');
  }
  const seeds = [Number.MAX_SAFE_INTEGER, -(2 ** 63), 0];
  for (const seed of seeds) await server.complete({ ...france, temperature: 2, seed, user: 'x'.repeat(10_000) });
});

test('after all that the server is idle and answers as before', async () => {
  await server.becomeIdle();
  assert.equal((await server.choice(france)).text, healthy);
  assert.equal((await server.metrics()).get('nibble_sequences_failed_total') ?? 0, 0);
});
