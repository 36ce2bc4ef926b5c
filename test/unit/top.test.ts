/** The screen of `nibble top`, and what it says of a server that isn't there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { printable } from '../../src/cli/printable.js';
import { renderTop, sparkline } from '../../src/cli/top/render.js';
import type { Load } from '../../src/ui/load.js';
import { root } from '../support/imports.js';
import { program } from '../support/program.js';

const load: Load = {
  atMs: 0,
  seconds: 1,
  promptTokensPerS: 100,
  answerTokensPerS: 40,
  running: 3,
  waiting: 2,
  queueSeconds: 1.25,
  kvBlocks: { used: 50, cached: 25, total: 100 },
  hitShare: 0.25,
  firstTokenP50: 0.0123,
  firstTokenP95: null,
  tokenP50: 0.005,
  tokenP95: 0.01,
  requestsPerS: 2,
  errorsPerS: 0,
  energy: { source: 'tdp', watts: { prefill: 1, decode: 2, idle: 3 }, joulesPerToken: 0.15 },
  models: [{ name: 'small', running: 3, waiting: 2, kvUsed: 0.5, kvCached: 0.25 }],
};

test('bars: the highest is full, nothing is empty, the newest are kept', () => {
  assert.equal(sparkline([0, 1, 4, 8], 10), ' ▁▄█');
  assert.equal(sparkline([9, 0, 2, 4], 3), ' ▄█');
  assert.equal(sparkline([0, 0], 5), '  ');
});

test('every figure of the load stands on the screen', () => {
  const lines = renderTop('http://a:1', [load], load, 120).split('\n');
  const line = (name: string) => lines.find((text) => text.startsWith(name)) ?? '';
  assert.match(line('answers'), /40 tokens\/s +█$/);
  assert.match(line('prompts'), /100 tokens\/s +█$/);
  assert.match(line('queue'), /3 running, 2 waiting, a request now waits 1\.3 s/);
  // Of 30 places 15 are in use, and 7.5 more kept.
  assert.match(line('KV cache'), /\[█{15}░{8} {7}\] 50 \+ 25 of 100 blocks/);
  assert.match(line('prefixes'), /25 %/);
  assert.match(line('first token'), /12\.3 ms, 95 %: –/);
  assert.match(line('energy'), /6\.0 W \(prompts 1\.0, answers 2\.0, idle 3\.0, 0\.150 J a token; estimated\)/);
  assert.ok(lines.some((text) => /3 \+ 2 +small$/.test(text)));
  assert.ok(
    renderTop('http://a:1', [load], load, 40)
      .split('\n')
      .every((text) => [...text].length <= 40),
  );
});

test('names from outside are text on a terminal, never commands', () => {
  const hostile = '\u001b]0;title\u0007\r\u009b2J\u202egnp';
  const spelt = '\\u001b]0;title\\u0007\\u000d\\u009b2J\\u202egnp';
  assert.equal(printable(`a\tb\n${hostile} é 😀`), `a\tb\n${spelt} é 😀`);
  const models = load.models.map((model) => ({ ...model, name: hostile }));
  assert.ok(renderTop('http://a:1', [{ ...load, models }], load, 200).includes(spelt));
  const args = [...program, 'inspect', './\u001b[31mabsent.gguf'];
  const { stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  assert.match(stderr, /^nibble: model_file_not_found: .*\\u001b\[31mabsent\.gguf\.\n$/);
});

test('a server that is not there is one line and exit code 1', () => {
  const args = [...program, 'top', '--url', 'http://127.0.0.1:1', '--once'];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /^nibble: server_unreachable: The server at http:\/\/127\.0\.0\.1:1 can't be asked: .*\n$/);
});
