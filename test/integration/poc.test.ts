// `nibble poc` as a user starts it, on a generated model: recipes are made and kept, prompts replayed, files written.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { examples } from '../../src/cli/tco/examples.js';
import { needsBrowser, openBrowser } from '../support/browser.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { program } from '../support/program.js';
import { openReport } from '../support/report-page.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nibble-poc-'));
after(() => rmSync(folder, { recursive: true }));
const prompts = join(folder, 'prompts.jsonl');
const report = join(folder, 'report.html');
const printed = join(folder, 'poc.json');
const secret = 'the quick SECRET';

type Result = {
  readonly recommended: string | null;
  readonly models: readonly { readonly name: string; readonly quality: { readonly klMean: number } | null }[];
  readonly recipes: readonly { readonly name: string }[];
};
let result: Result;

const schema = (name: string) => JSON.parse(readFileSync(join(root, 'docs/schemas', name), 'utf8'));

function check(name: string, value: unknown): void {
  const ajv = new Ajv2020({ allErrors: true });
  ajv.addSchema(schema('machine.json'));
  const validate = ajv.compile(schema(name));
  assert.ok(validate(value), JSON.stringify(validate.errors));
}

const env = { ...process.env, NIBBLE_HOME: folder };
const nibble = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [...program, ...args], { cwd: root, env });
const pocArgs = (model: string) => ['poc', '--model', model, '--prompts', prompts, '--max-tokens', '6'];

before(async () => {
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { context: 2048 });
  const pruned = join(folder, 'pruned.json');
  writeFileSync(
    pruned,
    JSON.stringify({ extends: 'w8a16', name: 'cut', pruning: { keep: 0.25, afterLayer: 0, stages: 1 } }),
  );
  const long = 'a text that is longer than the two windows that stay whole at its end; '.repeat(12);
  const lines = Array.from({ length: 5 }, (_, i) => ({ prompt: `${secret} number ${i} ${long}`, answer: 'none' }));
  writeFileSync(prompts, lines.map((line) => JSON.stringify(line)).join('\n'));
  const more = [
    '--candidates',
    `w8a16,${model}#kv=kv8,${pruned}`,
    '--threads',
    '1',
    '--max-kl',
    '100',
    '--out',
    report,
    '--json',
  ];
  const { stdout } = await nibble(...pocArgs(model), ...more);
  writeFileSync(printed, stdout);
  result = JSON.parse(stdout) as Result;
});

test('the JSON fits its schema, and names every model', () => {
  check('poc.json', result);
  assert.deepEqual(
    result.models.map(({ name }) => name),
    ['baseline', 'w8a16', 'tiny#kv=kv8', 'pruned.json'],
  );
  assert.equal(result.models[0]?.quality, null);
  assert.ok(result.models.slice(1).every(({ quality }) => (quality?.klMean ?? 0) > 0));
});

test('a recipe that prunes prompts is judged with its prompts pruned', () => {
  const kl = (name: string) => result.models.find((model) => model.name === name)?.quality?.klMean ?? 0;
  // The same weights: all that sets it apart is what it doesn't see.
  assert.ok(kl('pruned.json') > 3 * kl('w8a16'), `${kl('pruned.json')}, ${kl('w8a16')}`);
});

test('a file made by a recipe is kept, whole', () => {
  const kept = readdirSync(join(folder, 'quantized'));
  assert.equal(kept.length, 2);
  for (const [i, name] of kept.sort().entries()) {
    assert.match(name, [/^tiny-cut-[0-9a-f]{16}\.gguf$/, /^tiny-w8a16-[0-9a-f]{16}\.gguf$/][i] ?? /^$/);
    assert.ok(statSync(join(folder, 'quantized', name)).size > 10_000);
  }
});

test('no prompt is in what was written', () => {
  for (const path of [report, printed]) assert.ok(!readFileSync(path, 'utf8').includes(secret), path);
});

test('a plan takes the measured figures for this box', async () => {
  const scenario = join(folder, 'scenario.json');
  writeFileSync(scenario, JSON.stringify(examples['kiosk-fleet']));
  const args = ['--scenario', scenario, '--measured', printed, '--draws', '20', '--json'];
  const plan = JSON.parse((await nibble('tco', ...args)).stdout);
  check('tco.json', plan);
  assert.deepEqual(
    plan.options.map((option: { name: string; source: string }) => `${option.name}: ${option.source}`),
    ['Cloud API over mobile data: stated', ...result.recipes.map(({ name }) => `Small board / ${name}: measured`)],
  );
});

test('its report in a browser: plots, and nothing from outside', needsBrowser, async () => {
  const browser = await openBrowser();
  try {
    const seen = await openReport(browser, readFileSync(report, 'utf8'));
    // Quality, five bar charts, and the five of the plan.
    assert.equal(seen.plots.length, 11);
    for (const { width, height, marks } of seen.plots) assert.ok(width > 100 && height > 20 && marks > 5);
    assert.deepEqual([seen.requests, seen.errors, seen.findings], [[], [], []]);
    assert.ok(Math.min(...Object.values(seen.contrast)) > 7);
    assert.equal(seen.tooWide, 0);
  } finally {
    await browser.close();
  }
});
