// `bench serve --peer` against a program that stands where the peer's Python would be installed.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { peerVersions } from '../../src/cli/bench/peer-install.js';
import { createProgress } from '../../src/cli/bench/progress.js';
import { peerServerSettings, runAgainst, startPeerServer, summarizePairs } from '../../src/cli/bench/serve-peer.js';
import { NibbleError } from '../../src/errors.js';

type Prompt = readonly number[];

/** Answers completions at once with the length asked for, and `GET /` with its arguments and the prompts it got. */
const peerProgram = `#!${process.execPath}
const prompts = [];
const server = require('node:http').createServer((request, response) => {
  let text = '';
  request.on('data', (piece) => { text += piece; });
  request.on('end', () => {
    if (request.method === 'GET') return response.end(JSON.stringify({ args: process.argv.slice(2), prompts }));
    const { prompt, max_tokens: completion_tokens } = JSON.parse(text);
    prompts.push(prompt);
    response.end(JSON.stringify({ choices: [{ text: '' }], usage: { completion_tokens } }));
  });
});
if (process.argv[3] === 'broken.gguf') process.exit(1);
server.listen(0, '127.0.0.1', () => console.log('ready on http://127.0.0.1:' + server.address().port));
`;

const home = await mkdtemp(join(tmpdir(), 'nibble-peer-'));
after(() => rm(home, { recursive: true, force: true }));
const options = {
  home,
  offline: true,
  modelPath: 'model.gguf',
  threads: 2,
  clients: 5,
  tokens: 11,
  keepsPrompts: true,
};

const seen = async (url: string) =>
  (await (await fetch(url)).json()) as { readonly args: readonly string[]; readonly prompts: readonly Prompt[] };
const load = { prefixTokens: 4, promptTokens: 3, outputTokens: 8, vocab: 1000 };

before(async () => {
  const programs = join(home, 'peers', `xllamacpp-${peerVersions.xllamacpp}`, 'bin');
  await mkdir(programs, { recursive: true });
  await writeFile(join(programs, 'python'), peerProgram, { mode: 0o755 });
});

test('both servers get the same prompts, all with the same prefix, none twice', async () => {
  const first = await startPeerServer(options);
  const second = await startPeerServer({ ...options, keepsPrompts: false });
  try {
    const urls = { ours: first.url, theirs: second.url };
    const runs = await runAgainst(load, urls, [1, 5], 2, createProgress());
    const errors = runs.map((run) => [run.concurrency, run.errors]);
    assert.deepEqual(errors, [
      [1, 0],
      [5, 0],
    ]);
    const [ours, theirs] = [await seen(first.url), await seen(second.url)];
    const texts = ours.prompts.map((prompt) => prompt.join(' '));
    assert.equal(texts.length, 3 * (4 + 5), 'a round to warm up and two that count, of at least four requests');
    assert.deepEqual(texts.toSorted(), theirs.prompts.map((prompt) => prompt.join(' ')).toSorted());
    assert.equal(new Set(texts).size, texts.length);
    assert.equal(new Set(ours.prompts.map((prompt) => prompt.slice(0, 4).join(' '))).size, 1);
    assert.ok(ours.prompts.every((prompt) => prompt.length === 7));
    assert.match(ours.args[0] ?? '', /llama_server\.py$/);
    assert.deepEqual(ours.args.slice(1), ['model.gguf', '2', '5', '11', '1']);
    assert.deepEqual(theirs.args.slice(5), ['0'], 'keeps no prompts');
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
  await assert.rejects(fetch(first.url), 'the server was ended');
});

test('a peer server that ends before it is ready is a coded error', async () => {
  await assert.rejects(
    startPeerServer({ ...options, modelPath: 'broken.gguf' }),
    (error) => error instanceof NibbleError && error.code === 'bench_failed',
  );
});

test('a ratio is taken within each round, and the settings say what is cached', () => {
  const pairs = [1, 0.5, 0.25].map((drift) => ({ ours: 30 * drift, theirs: 10 * drift }));
  assert.deepEqual(summarizePairs(pairs).ratio, { median: 3, min: 3, max: 3 });
  assert.match(peerServerSettings(options), /threads 2.*5 slots.*each slot keeps its prompt/);
  assert.match(peerServerSettings({ ...options, keepsPrompts: false }), /no prompt cache/);
});
