/** Every field of the API through the official clients, npm's and Python's, whole and streamed. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import OpenAI from 'openai';
import { ChatRequest } from '../../src/server/schemas/chat-request.js';
import { CompletionRequest } from '../../src/server/schemas/completion-request.js';
import { ResponsesRequest } from '../../src/server/schemas/responses-request.js';
import { type Answer, type ConformanceCase, conformanceCases, plainBodies } from '../support/conformance-cases.js';
import { ask } from '../support/openai-answers.js';
import { runReference } from '../support/python.js';
import { RealServer } from '../support/real-server.js';

type Request = { readonly endpoint: ConformanceCase['endpoint']; readonly body: object; readonly isStream: boolean };

const folder = mkdtempSync(join(tmpdir(), 'nibble-conformance-'));
let server: RealServer;
let cases: readonly ConformanceCase[] = [];
/** Each case whole, then streamed where that is possible; and what the npm client read. */
let requests: readonly (Request & { readonly from: ConformanceCase })[] = [];
const answers: Answer[] = [];

before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '4096'] });
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ prompt: ' Paris', add_special_tokens: false });
  const response = await fetch(`${server.url}/tokenize`, { method: 'POST', headers, body });
  const { tokens } = (await response.json()) as { readonly tokens: readonly number[] };
  assert.equal(tokens.length, 1);
  cases = conformanceCases(tokens[0] ?? 0);
  requests = cases.flatMap((from) => {
    const modes = from.isWholeOnly === true ? [false] : [false, true];
    return modes.map((isStream) => ({ from, endpoint: from.endpoint, body: from.body, isStream }));
  });
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const show = ({ endpoint, body, isStream }: Request): string =>
  `${endpoint} ${isStream ? 'streamed' : 'whole'} ${JSON.stringify(body)}`;

test('the cases use every field of every request', () => {
  const schemas = { completions: CompletionRequest, chat: ChatRequest, responses: ResponsesRequest };
  for (const [endpoint, { properties }] of Object.entries(schemas)) {
    const used = new Set(cases.filter((row) => row.endpoint === endpoint).flatMap(({ body }) => Object.keys(body)));
    // The streamed half of the requests has these.
    for (const name of ['stream', 'stream_options']) used.add(name);
    const unused = Object.keys(properties).filter((name) => !used.has(name));
    assert.deepEqual(unused, [], endpoint);
  }
});

test('the npm client gets what each field promises; a stream says what the whole answer says', async () => {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'unused', maxRetries: 0 });
  const failures: string[] = [];
  const plain = new Map<string, Extract<Answer, { kind: 'answer' }>>();
  for (const request of requests) {
    const { from, endpoint, body, isStream } = request;
    const answer = await ask(client, endpoint, body as Readonly<Record<string, unknown>>, isStream);
    if (body === plainBodies[endpoint] && answer.kind === 'answer') plain.set(endpoint, answer);
    const reference = plain.get(endpoint);
    assert.ok(reference, show(request));
    try {
      if (isStream) assert.deepEqual(answer, answers.at(-1));
      else from.check(answer, reference);
    } catch (error) {
      failures.push(`${show(request)}: ${error}`);
    }
    answers.push(answer);
  }
  assert.deepEqual(failures, []);
});

test('the Python client reads the same answers', async () => {
  const path = join(folder, 'requests.json');
  writeFileSync(path, JSON.stringify(requests.map(({ endpoint, body, isStream }) => ({ endpoint, body, isStream }))));
  const read = JSON.parse(await runReference('openai_answers.py', [server.url, path], 'requirements-clients'));
  assert.equal(read.length, requests.length);
  const differing = requests.filter((_, index) => !isDeepStrictEqual(read[index], answers[index]));
  assert.deepEqual(differing.map(show), []);
});
