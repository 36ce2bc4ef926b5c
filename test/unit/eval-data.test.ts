import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readForcedSequences, readText, readTokens } from '../../src/cli/eval/data.js';
import { type ErrorCode, NibbleError } from '../../src/errors.js';
import { createFakeTokenizer, FAKE_BOS } from '../support/fake-engine.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-eval-data-'));
after(() => rmSync(folder, { recursive: true }));

function file(content: string | Uint8Array): string {
  const path = join(folder, 'data.txt');
  writeFileSync(path, content);
  return path;
}
const hasCode =
  (code: ErrorCode, text = '') =>
  (error: unknown) =>
    error instanceof NibbleError && error.code === code && error.message.includes(text);

test('a text becomes its tokens', async () => {
  const tokenizer = createFakeTokenizer();
  const text = 'some <|end|> text, long enough';
  const ids = await readTokens(file(text), tokenizer, 4);
  assert.equal(tokenizer.decode(ids), text, 'special tokens in a text are plain text');
  const withBos = await readTokens(file(text), createFakeTokenizer({ addBos: true }), 4);
  assert.deepEqual([...withBos], [FAKE_BOS, ...ids], 'where the file says so, and once');
});

test('less than a window, or nothing, is refused', async () => {
  await assert.rejects(readTokens(file('abc'), createFakeTokenizer(), 4), hasCode('data_too_short', '3 tokens'));
  await assert.rejects(readTokens(file(''), createFakeTokenizer(), 4), hasCode('data_too_short', '0 tokens'));
});

test('what is no readable file is refused', async () => {
  await assert.rejects(readText(join(folder, 'missing')), hasCode('data_unreadable'));
  await assert.rejects(readText(folder), hasCode('data_unreadable'));
});

test('bytes that are no text are replaced, a byte order mark stays', async () => {
  assert.equal(await readText(file(Uint8Array.of(0x61, 0xff, 0x62))), 'a\uFFFDb');
  assert.equal(await readText(file(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))), '\uFEFFa');
});

const limits = { vocab: 10, tokensMax: 5 };

test('forced sequences are read line by line', async () => {
  const path = file('{"prompt":[1,2],"continuation":[3]}\n\n{"prompt":[9],"continuation":[0,0,0,0]}\r\n');
  assert.deepEqual(await readForcedSequences(path, limits), [
    { prompt: Int32Array.of(1, 2), continuation: Int32Array.of(3) },
    { prompt: Int32Array.of(9), continuation: Int32Array.of(0, 0, 0, 0) },
  ]);
});

test('a malformed line is refused by its number', async () => {
  const good = '{"prompt":[1],"continuation":[2]}\n';
  for (const bad of [
    '{',
    'null',
    '[]',
    '{}',
    '{"prompt":[1]}',
    '{"prompt":[],"continuation":[1]}',
    '{"prompt":[1],"continuation":[]}',
    '{"prompt":[1.5],"continuation":[1]}',
    '{"prompt":[-1],"continuation":[1]}',
    '{"prompt":[10],"continuation":[1]}',
    '{"prompt":["1"],"continuation":[1]}',
    '{"prompt":"1","continuation":[1]}',
    '{"prompt":[1,1,1],"continuation":[1,1,1]}',
  ]) {
    await assert.rejects(
      readForcedSequences(file(`${good}\n${bad}\n`), limits),
      hasCode('data_invalid', 'line 3'),
      bad,
    );
  }
  await assert.rejects(readForcedSequences(file('\n\n'), limits), hasCode('data_too_short'));
});
