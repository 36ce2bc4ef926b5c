import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import { chooseLevels, integersIn, readLevels, readShape } from '../../src/cli/bench/arguments.js';
import { readAnswer } from '../../src/cli/bench/peer-connection.js';
import { cpuPackage, peerNames, peerProgram } from '../../src/cli/bench/peer-install.js';
import { summarize } from '../../src/cli/bench/peer-rounds.js';
import { randomTokens } from '../../src/cli/bench/random-tokens.js';
import { isWholeCompletion } from '../../src/cli/bench/serve-load.js';
import { readStream } from '../../src/cli/bench/stream-client.js';
import { NibbleError } from '../../src/errors.js';

async function* lines(...texts: readonly string[]) {
  yield* texts;
}
const chunk = (text: string) => `data: ${JSON.stringify({ choices: [{ text }], usage: null })}`;
const usage = `data: ${JSON.stringify({ choices: [], usage: { completion_tokens: 3 } })}`;
const done = 'data: [DONE]';

test('a stream gives one time to the first chunk and one between each two', async () => {
  const times = await readStream(
    lines(': ping', chunk('a'), '', chunk('b'), chunk('c'), usage, done),
    performance.now(),
  );
  assert.equal(times.completionTokens, 3);
  assert.equal(times.itlMs.length, 2);
  assert.ok(times.ttftMs >= 0);
});

test('a stream that is cut, empty, broken or failed is an error', async () => {
  await assert.rejects(readStream(lines(chunk('a'), usage), 0), /cut/);
  await assert.rejects(readStream(lines(chunk('a'), done), 0), /cut/);
  await assert.rejects(readStream(lines(usage, done), 0), /cut/);
  await assert.rejects(readStream(lines('data: {'), 0), SyntaxError);
  await assert.rejects(readStream(lines('data: {"error":{"message":"broke"}}', done), 0), /broke/);
});

test('only a completion of the length asked for counts', () => {
  const body = (tokens: number, choices: unknown) => JSON.stringify({ choices, usage: { completion_tokens: tokens } });
  assert.equal(isWholeCompletion(body(64, [{ text: 'x' }]), 64), true);
  assert.equal(isWholeCompletion(body(63, [{ text: 'x' }]), 64), false);
  assert.equal(isWholeCompletion(body(64, []), 64), false);
  assert.equal(isWholeCompletion('{"error":{}}', 64), false);
  assert.equal(isWholeCompletion('{"choices":[{}],"usage":null}', 64), false);
  assert.equal(isWholeCompletion('<html>', 64), false);
});

test('ratios are taken within rounds, so that drift of the machine cancels', () => {
  // The machine halves its speed in the second round and again in the third: each ratio stays 3 (prefill) and 2.
  const rounds = [1, 0.5, 0.25].map((drift) => ({
    ours: { prefill: 300 * drift, decode: 40 * drift },
    theirs: [
      { prefill: 1, decode: 1 },
      { prefill: 100 * drift, decode: 20 * drift },
    ],
  }));
  const { ratio, ours } = summarize(rounds, 1);
  assert.deepEqual(ratio.prefill, { median: 3, min: 3, max: 3 });
  assert.deepEqual(ratio.decode, { median: 2, min: 2, max: 2 });
  assert.deepEqual(ours.prefillTokensPerS, { median: 150, min: 75, max: 300 });
});

test('random tokens are in the vocabulary, repeatable, and differ by seed', () => {
  const tokens = randomTokens(1000, 300, 7);
  assert.ok(tokens.every((id) => id >= 0 && id < 300));
  assert.ok(new Set(tokens).size > 200);
  assert.deepEqual(randomTokens(1000, 300, 7), tokens);
  assert.notDeepEqual(randomTokens(1000, 300, 8), tokens);
});

test('the peer is a CPU build for this platform, or none', () => {
  assert.equal(cpuPackage('linux', 'x64'), '@node-llama-cpp/linux-x64');
  assert.equal(cpuPackage('linux', 'arm64'), '@node-llama-cpp/linux-arm64');
  assert.equal(cpuPackage('darwin', 'arm64'), null);
  assert.equal(cpuPackage('linux', 'ia32'), null);
});

test('without network a missing peer is a coded error', async () => {
  for (const name of peerNames) {
    await assert.rejects(
      peerProgram(name, { home: '/nonexistent-nibble-home', offline: true }),
      (error) => error instanceof NibbleError && error.code === 'peer_failed',
      name,
    );
  }
});

test('what a peer answers is checked', () => {
  const ran = { kind: 'ran', prefillSeconds: 0.5, decodeSeconds: 0.25 };
  assert.deepEqual(readAnswer({ ...ran, more: 1 }), ran);
  assert.deepEqual(readAnswer({ kind: 'failed', message: 'no' }), { kind: 'failed', message: 'no' });
  const wrong = [null, 7, {}, { kind: 'loaded' }, { ...ran, decodeSeconds: 0 }, { ...ran, prefillSeconds: '1' }];
  for (const answer of wrong) assert.throws(() => readAnswer(answer), JSON.stringify(answer));
});

test('lists, shapes and levels are checked', () => {
  assert.deepEqual(integersIn(1, 64)('1,4, 16,4'), [1, 4, 16]);
  assert.deepEqual(readShape('512x1536x576'), { m: 512, n: 1536, k: 576 });
  for (const text of ['', '1', '0x16x32', '1x16x33', '1x16x32x2', '1e3x16x32', '-1x16x32']) {
    assert.throws(() => readShape(text), InvalidArgumentError, text);
  }
  for (const text of ['', '0', '65', '1,,2', '1.5', 'x']) {
    assert.throws(() => integersIn(1, 64)(text), InvalidArgumentError, text);
  }
  assert.throws(() => readLevels('sse'), InvalidArgumentError);
  const cpu = { level: 'avx2', levels: ['scalar', 'avx2'] } as const;
  assert.deepEqual(chooseLevels(undefined, cpu), ['avx2']);
  assert.deepEqual(chooseLevels(readLevels('all'), cpu), ['scalar', 'avx2'], 'all means what the machine has');
  assert.deepEqual(chooseLevels(readLevels('avx512'), cpu), ['avx512'], 'a named level is never left out silently');
});
