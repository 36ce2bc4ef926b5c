/** `nibble eval recipes`, from the command to the table, on a generated model. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { run } from '../support/json-results.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-eval-recipes-'));
after(() => rmSync(folder, { recursive: true }));

test('recipes become files that are kept, compared with the model in one table', async () => {
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { context: 1024 });
  const text = join(folder, 'text.txt');
  const words = ['the', 'small', 'model', 'reads', 'a', 'text', 'of', 'no', 'great', 'depth'];
  writeFileSync(text, Array.from({ length: 600 }, (_, i) => words[(i * i + 3 * i) % words.length]).join(' '));
  const home = join(folder, 'home');
  const recipes = 'w8a8,w4a8-sym#activations=f32';
  const args = ['eval', 'recipes', '--model', model, '--home', home, '--recipes', recipes, '--data', text];
  const size = ['--set', 'calibration.tokens=128', '--window', '128', '--windows', '1', '--no-speed', '--threads', '1'];
  const result = await run('eval-compare', ...args, ...size);
  const [eight, four] = result.candidates as readonly Record<string, unknown>[];
  assert.deepEqual([eight?.name, four?.name], ['w8a8', 'w4a8-sym#activations=f32']);
  assert.ok(Number(eight?.fileBytes) > Number(four?.fileBytes) && Number(eight?.klMean) < Number(four?.klMean));
  const files = () =>
    readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((name) => /w[48]a8.*\.gguf$/.test(name));
  const kept = files();
  assert.equal(kept.length, 2);
  const again = await run('eval-compare', ...args, ...size);
  assert.deepEqual([again.candidates, files()], [result.candidates, kept]);
});
