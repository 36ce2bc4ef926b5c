// `bench all` for real, on a generated model.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { root, runsOf, validator } from '../support/json-results.js';
import { program } from '../support/program.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-bench-all-'));
after(() => rmSync(folder, { recursive: true }));

test('bench all: each section in a process of its own, its figures as a page and as JSON', async () => {
  const out = join(folder, 'all');
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { context: 1024 });
  const sizes = ['--quick', '--threads', '1', '--sections', 'roofline,engine', '--out', out];
  const args = ['bench', 'all', '--model', model, ...sizes];
  await promisify(execFile)(process.execPath, [...program, ...args], { cwd: root });
  const { sections } = JSON.parse(readFileSync(join(out, 'benchmarks.json'), 'utf8'));
  assert.ok(validator('bench-roofline')(sections.roofline.result) && validator('bench-engine')(sections.engine.result));
  const [run] = runsOf(sections.engine.result);
  const page = readFileSync(join(out, 'benchmarks.md'), 'utf8');
  assert.match(page, /^# Benchmarks\n/);
  assert.ok(page.includes(`| 1 | 0 | ${Number(run?.prefillTokensPerS).toLocaleString('en-US')} |`), page);
});
