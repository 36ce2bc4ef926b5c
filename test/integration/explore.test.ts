/** `nibble explore` as a user runs it, on a generated model: what it prints fits its schemas; errors are cached. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { program } from '../support/program.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nibble-explore-'));
const path = (name: string) => join(folder, name);
after(() => rmSync(folder, { recursive: true }));

const space = {
  ...{ elements: ['fp16', 'int8', 'w4a8'], recipes: ['f16', 'w8a8', 'w4a8'], rows: [4, 16], columns: [8, 32] },
  ...{
    weightBufferKiB: [16, 64],
    activationBufferKiB: [16],
    outputBufferKiB: [16],
    memoryGBs: [2, 16],
    clockMHz: [500],
  },
};

before(async () => {
  await writeTinyModel(path('tiny.gguf'), { context: 1024 });
  writeFileSync(path('text.txt'), Array.from({ length: 3000 }, (_, i) => `w${(i * i) % 97}`).join(' '));
  writeFileSync(path('workload.json'), JSON.stringify({ batch: 2, promptTokens: 24, outputTokens: 6 }));
  writeFileSync(path('space.json'), JSON.stringify(space));
});

async function run(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [...program, 'explore', ...args], { cwd: root });
  return stdout;
}

/** One JSON object that fits the schema. */
function parse(schema: string, text: string): Record<string, unknown> {
  const read = (name: string): object => JSON.parse(readFileSync(join(root, 'docs/schemas', name), 'utf8'));
  const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });
  ajv.addSchema(read('machine.json'));
  const validate = ajv.compile(read(schema));
  const value: unknown = JSON.parse(text);
  assert.ok(validate(value), JSON.stringify(validate.errors));
  return value as Record<string, unknown>;
}

type Row = Readonly<Record<string, unknown>>;
const inputs = () => [
  ...['--model', path('tiny.gguf'), '--home', path('home'), '--data', path('text.txt')],
  ...['--workload', path('workload.json'), '--space', path('space.json')],
];

test('a front, its recipes on this machine, a report; a second run makes no file again', async () => {
  const result = parse('explore.json', await run(...inputs(), '--out', path('front.html'), '--json'));
  // Pairs: fp16 with f16; int8 and w4a8 each with w8a8 and w4a8.
  assert.equal(result.points, 5 * 2 * 2 * 2 * 2);
  const recipes = result.recipes as readonly Row[];
  assert.deepEqual(
    recipes.map(({ name }) => name),
    ['f16', 'w8a8', 'w4a8'],
  );
  assert.ok(recipes.every(({ klMean }) => Number(klMean) < 0.1));
  const onFront = recipes.filter(({ frontPoints }) => Number(frontPoints) > 0);
  assert.ok(onFront.length >= 2 && onFront.every(({ cpu }) => cpu !== null), 'runnable, with figures of this machine');
  const front = result.front as readonly Row[];
  const known = result.known as readonly Row[];
  const names = [
    'fp16',
    'int8',
    'mixpe-w4a8',
    'mixpe-w4a16',
    'bitfusion',
    'ant',
    'olaccel',
    'olive',
    'tender',
    'lut-w2',
  ];
  assert.deepEqual(
    known.map(({ name }) => name),
    names,
  );
  for (const { joules, energy, macs, seconds, areaMm2, macsPerJoule, macsPerSPerMm2 } of [...front, ...known]) {
    assert.equal(macs, front[0]?.macs, 'the same work for all');
    const [perJoule, perMm2] = [Number(macsPerJoule) * Number(joules), Number(macsPerSPerMm2) * Number(areaMm2)];
    assert.ok(Math.abs(perJoule / Number(macs) - 1) < 2e-3);
    assert.ok(Math.abs((perMm2 * Number(seconds)) / Number(macs) - 1) < 3e-3);
    const sum = Object.values(energy as Record<string, number>).reduce((total, part) => total + part, 0);
    assert.ok(Math.abs(sum / Number(joules) - 1) < 1e-3);
  }
  assert.match(readFileSync(path('front.html'), 'utf8'), /^<!doctype html>/);

  const cache = path('home/explore');
  const made = () => readdirSync(cache).filter((name) => name.endsWith('.gguf'));
  const times = made().map((name) => [name, statSync(join(cache, name)).mtimeMs]);
  // A file in the place of the recipe that it was made by, and layers of another model.
  const file = join(cache, made().find((name) => name.startsWith('w8a8-')) ?? '');
  writeFileSync(path('space.json'), JSON.stringify({ ...space, recipes: ['f16', file] }));
  const csv = await run(...inputs(), '--shape', 'opt-6.7b', '--csv');
  const lines = csv.trimEnd().split('\r\n').slice(1);
  const seconds = lines.map((line) => Number(line.split(',')[9]));
  assert.ok(Math.min(...seconds) > 100 * Number(front[0]?.seconds));
  const errors = lines.filter((line) => line.includes(basename(file, '.gguf'))).map((line) => line.split(',').at(-1));
  assert.ok(errors.length > 0);
  const measured = Number(recipes[1]?.klMean);
  for (const error of errors) assert.ok(Math.abs(Number(error) / measured - 1) < 1e-3, `${error} ${measured}`);
  assert.deepEqual(
    made().map((name) => [name, statSync(join(cache, name)).mtimeMs]),
    times,
  );
});

test('--validate shows every published figure with its error, and where each parameter is from', async () => {
  const { checks, parameters } = parse('explore-validate.json', await run('--validate', '--json'));
  const claimed = (checks as readonly Row[]).filter(({ tolerance }) => tolerance !== null);
  assert.ok(claimed.length > 50 && claimed.every(({ agrees }) => agrees === true));
  const fitted = (parameters as readonly Row[]).filter(({ kind }) => kind === 'fitted');
  assert.deepEqual(
    fitted.map(({ name }) => name),
    ['share of the peak that tensor cores reach'],
  );
});
