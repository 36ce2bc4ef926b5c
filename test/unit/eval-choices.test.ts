import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type EncodedTask, measureChoices } from '../../src/cli/eval/choices.js';
import { encodeChoice, readChoiceTasks } from '../../src/cli/eval/choices-data.js';
import { NibbleError } from '../../src/errors.js';
import type { Tokenizer } from '../../src/model/types.js';
import { createFakeTokenizer } from '../support/fake-engine.js';
import { FakeNative } from '../support/fake-native.js';
import { fakeLogprob } from '../support/fake-text.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-eval-choices-'));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'tasks.jsonl');

test('tasks are read line by line', async () => {
  const task = { context: 'Q: 1 + 1 =', choices: [' 2', ' 3'], answer: 0 };
  writeFileSync(path, `${JSON.stringify(task)}\n\n${JSON.stringify({ ...task, subject: 'sums' })}\r\n`);
  assert.deepEqual(await readChoiceTasks(path), [task, task]);
});

test('a malformed task is refused by its line', async () => {
  const good = { context: 'c', choices: ['a', 'b'], answer: 1 };
  const bad = [
    ...[
      { choices: ['a', 'b'], answer: 1 },
      { ...good, context: ' ' },
      { ...good, choices: ['a'] },
    ],
    ...[
      { ...good, choices: ['a', ''] },
      { ...good, choices: 'ab' },
      { ...good, choices: ['a', 1] },
    ],
    ...[
      { ...good, answer: 2 },
      { ...good, answer: -1 },
      { ...good, answer: '1' },
      { ...good, answer: 0.5 },
    ],
  ].map((value) => JSON.stringify(value));
  for (const line of [...bad, '{', 'null', '[]']) {
    writeFileSync(path, `${JSON.stringify(good)}\n${line}\n`);
    await assert.rejects(readChoiceTasks(path), (error) => {
      return error instanceof NibbleError && error.code === 'data_invalid' && error.message.includes('line 2');
    });
  }
  writeFileSync(path, '\n');
  await assert.rejects(readChoiceTasks(path), (error) => {
    return error instanceof NibbleError && error.code === 'data_too_short';
  });
});

test('the tokens of a choice are those behind the context', () => {
  const tokenizer = createFakeTokenizer();
  const { tokens, firstScored } = encodeChoice(tokenizer, 'ab', ' cd');
  assert.deepEqual([tokenizer.decode(tokens), firstScored], ['ab cd', 2]);
  // A space at the end of the context is part of the choice.
  assert.equal(encodeChoice(tokenizer, 'ab ', 'cd').firstScored, 2);
});

test('a token that joins the context with the choice is scored', () => {
  const joining: Pick<Tokenizer, 'encode'> = {
    // "ab" is a token of its own where it occurs, else every character is one.
    encode: (text) => Int32Array.from(text.match(/ab|./g) ?? [], (part) => part.charCodeAt(0) * part.length),
  };
  const { tokens, firstScored } = encodeChoice({ ...createFakeTokenizer(), ...joining }, 'xa', 'bc');
  assert.deepEqual([tokens.length, firstScored], [3, 1]);
});

/** The sum that the fake gives to tokens behind `first` others. */
const sumOf = (tokens: readonly number[], first: number): number =>
  tokens.slice(first).reduce((sum, token, i) => sum + fakeLogprob(tokens.slice(0, first + i), token), 0);

test('the answer is the choice with the largest sum; per byte it may be another', async () => {
  const native = new FakeNative({ blockCount: 8 });
  const options = [
    [1, 2, 3],
    [1, 2, 4, 5, 6],
    [1, 2, 7, 8],
  ];
  const sums = options.map((tokens) => sumOf(tokens, 2));
  const bySum = sums.indexOf(Math.max(...sums));
  // Bytes chosen such that per byte another one wins.
  const bytes = sums.map((_, i) => (i === (bySum + 1) % 3 ? 1000 : 1));
  const choices = options.map((tokens, i) => ({
    tokens: Int32Array.from(tokens),
    firstScored: 2,
    bytes: bytes[i] ?? 1,
  }));
  const task = (answer: number): EncodedTask => ({ choices, answer });
  const found = await measureChoices(native, [task(bySum), task(bySum), task(bySum), task((bySum + 1) % 3)]);
  assert.deepEqual([found.tasks, found.accuracy.share, found.normalized.share], [4, 0.75, 0.25]);
  assert.ok(Math.abs(found.chance - 1 / 3) < 1e-12);
  // √(¾ · ¼ ÷ 3)
  assert.ok(Math.abs(found.accuracy.error - 0.25) < 1e-12);
  assert.deepEqual(native.violations, []);
});
