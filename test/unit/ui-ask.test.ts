/** How the page asks and reads, against the server that it asks. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { AskError, type AskEvent, ask, dataLines, eventsOf, type Question, requestOf } from '../../src/ui/ask.js';
import { createFakeServer, listen } from '../support/fake-server.js';

const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, maxTokens: 4, seed: 3 };
const question: Question = {
  model: 'default',
  content: { prompt: 'Hello' },
  sampling,
  showsProbabilities: true,
  asksCost: false,
};

async function collect(events: AsyncGenerator<AskEvent>): Promise<readonly AskEvent[]> {
  const all: AskEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

test('an event stream may be cut anywhere, within a character too', async () => {
  const bytes = new TextEncoder().encode(': ping\n\ndata: {"a":"é"}\r\n\r\ndata: {"b":1}\n\ndata: [DONE]\n\n');
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let i = 0; i < bytes.length; i += size) controller.enqueue(bytes.slice(i, i + size));
        controller.close();
      },
    });
    const lines: string[] = [];
    for await (const line of dataLines(stream)) lines.push(line);
    assert.deepEqual(lines, ['{"a":"é"}', '{"b":1}'], `pieces of ${size}`);
  }
});

test('a chunk of several tokens is shown token by token, unless they are no text alone', () => {
  const chunk = (text: string, tokens: readonly string[]) =>
    JSON.stringify({
      choices: [
        {
          text,
          logprobs: {
            tokens,
            token_logprobs: tokens.map(() => -1),
            top_logprobs: tokens.map((token) => ({ other: -3, [token]: -1 })),
          },
        },
      ],
    });
  const texts = (data: string) =>
    [...eventsOf(data)].map((event) => (event.kind === 'piece' ? [event.piece.text, event.piece.tokens.length] : []));
  assert.deepEqual(texts(chunk('a b', ['a', ' b'])), [
    ['a', 1],
    [' b', 1],
  ]);
  assert.deepEqual(texts(chunk('é', ['bytes:\\xc3', 'bytes:\\xa9'])), [['é', 2]]);
  const [event] = eventsOf(chunk('a', ['a']));
  assert.deepEqual(event?.kind === 'piece' && event.piece.tokens[0]?.alternatives, [
    { text: 'a', logprob: -1 },
    { text: 'other', logprob: -3 },
  ]);
  assert.throws(() => [...eventsOf('{"error":{"message":"broken"}}')], { message: 'broken' });
});

test('the seed and the cost are asked for only where they are wanted', () => {
  const { path, body } = requestOf({ ...question, sampling: { ...sampling, seed: null }, asksCost: true });
  assert.equal(path, '/v1/completions');
  assert.ok(!('seed' in body));
  assert.equal('cost' in body && body.cost, true);
});

const server = createFakeServer();
let url = '';
const realFetch = globalThis.fetch;
before(async () => {
  url = await listen(server.app);
  // The page's paths are relative to where it came from.
  globalThis.fetch = (path, init) => realFetch(`${url}${String(path)}`, init);
});
after(async () => {
  globalThis.fetch = realFetch;
  await server.app.close();
});

for (const content of [{ prompt: 'Hello' }, { messages: [{ role: 'user', content: 'Hello' } as const] }]) {
  const name = 'messages' in content ? 'a conversation' : 'a prompt';
  test(`${name}: pieces with their probabilities, then the reason and the usage`, async () => {
    const events = await collect(ask({ ...question, content }, '', new AbortController().signal));
    const pieces = events.flatMap((event) => (event.kind === 'piece' ? [event.piece] : []));
    const tokens = pieces.flatMap((piece) => piece.tokens);
    assert.equal(tokens.length, 4);
    for (const { logprob, alternatives } of tokens) {
      assert.ok(logprob !== null && logprob <= 0);
      assert.ok(alternatives.length > 0);
    }
    assert.deepEqual(
      events.filter(({ kind }) => kind === 'finish'),
      [{ kind: 'finish', reason: 'length' }],
    );
    const last = events.at(-1);
    assert.equal(last?.kind === 'usage' && last.usage.completion_tokens, 4);
  });
}

test('a refusal has the status and the words of the server', async () => {
  const asking = collect(ask({ ...question, model: 'nobody' }, '', new AbortController().signal));
  await assert.rejects(
    asking,
    (error) => error instanceof AskError && error.status === 404 && /nobody/.test(error.message),
  );
});
