// The cheap measuring commands, run for real on a generated model: what they print with --json must fit the schemas in
// docs/schemas, and docs/json.md must know every schema and field.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { chooseLookups } from '../../src/engine/lookups.js';
import type { LookupTokens } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { readSchema, root, run, runsOf, schemas, validator } from '../support/json-results.js';
import { program } from '../support/program.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-bench-json-'));
after(() => rmSync(folder, { recursive: true }));

let model = '';
let text = '';
before(async () => {
  model = await writeTinyModel(join(folder, 'tiny.gguf'), { context: 1024 });
  text = join(folder, 'text.txt');
  const words = ['the', 'small', 'model', 'reads', 'a', 'text', 'of', 'no', 'great', 'depth'];
  writeFileSync(text, Array.from({ length: 600 }, (_, i) => words[(i * i + 3 * i) % words.length]).join(' '));
});

test('bench roofline: one run per level and thread count', async () => {
  const result = await run('bench-roofline', 'bench', 'roofline', '--ms', '5', '--threads', '1,2', '--isa', 'scalar');
  const got = runsOf(result).map(({ isa, threads }) => [isa, threads]);
  assert.deepEqual(got, [
    ['scalar', 1],
    ['scalar', 2],
  ]);
});

test('bench kernels: one run per family and operation', async () => {
  const args = ['--family', 'w4a8,f16', '--shape', '8x64x64', '--ms', '1', '--threads', '1'];
  const result = await run('bench-kernels', 'bench', 'kernels', ...args);
  assert.deepEqual(
    runsOf(result).map(({ family, op, shape }) => [family, op, shape]),
    [
      ['w4a8', 'gemv', '1x64x64'],
      ['w4a8', 'gemm', '8x64x64'],
      ['f16', 'gemv', '1x64x64'],
      ['f16', 'gemm', '8x64x64'],
    ],
  );
});

test('bench engine: one run per batch and context', async () => {
  const args = [
    '-p',
    '40',
    '-n',
    '5',
    '--batch',
    '1,3',
    '--context',
    '0,20',
    '--reps',
    '3',
    '--ms',
    '5',
    '--threads',
    '1',
  ];
  const result = await run('bench-engine', 'bench', 'engine', '--model', model, ...args);
  const got = runsOf(result).map(({ batch, context }) => [batch, context]);
  assert.deepEqual(got, [
    [1, 0],
    [1, 20],
    [3, 0],
    [3, 20],
  ]);
  assert.equal(result.model, 'tiny');
  assert.ok(runsOf(result).every(({ profile }) => profile === null));
});

test('bench engine --profile: operators and the time between steps sum to the measured time', async () => {
  const args = ['-p', '40', '-n', '5', '--reps', '3', '--ms', '5', '--threads', '2', '--profile'];
  const result = await run('bench-engine', 'bench', 'engine', '--model', model, ...args);
  const profile = runsOf(result)[0]?.profile as Record<string, readonly { readonly timeShare: number }[]>;
  for (const phase of ['prefill', 'decode']) {
    const sum = profile[phase]?.reduce((total, { timeShare }) => total + timeShare, 0) ?? 0;
    assert.ok(Math.abs(sum - 1) < 0.05, `${phase}: ${sum}`);
  }
});

/** A peer that answers as the protocol says, twice as fast in its second phase whatever it is asked. */
const fakePeer = `#!${process.execPath}
const { createInterface } = require('node:readline');
const { writeSync } = require('node:fs');
createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  const isAsked = request.kind === 'load' ? request.tokensMax === 48 : request.prompts.every((p) => p.length === 40);
  const ran = { kind: 'ran', prefillSeconds: 2, decodeSeconds: 1 };
  const answer = request.kind === 'load' ? { kind: 'loaded', settings: 'made up' } : ran;
  writeSync(3, JSON.stringify(isAsked ? answer : { kind: 'failed', message: 'not what was asked for' }) + '\\n');
});`;

test('bench peers: one run per peer and count of sequences, on the same tokens', async () => {
  const peer = join(folder, 'peer.cjs');
  writeFileSync(peer, fakePeer, { mode: 0o755 });
  const args = ['--peer', peer, '--sequences', '1,2', '-p', '40', '-n', '8', '--rounds', '5', '--threads', '1'];
  const result = await run('bench-peers', 'bench', 'peers', '--model', model, ...args);
  const same = (tokensPerS: number) => ({ median: tokensPerS, min: tokensPerS, max: tokensPerS });
  assert.deepEqual(
    runsOf(result).map(({ peer: name, settings, sequences, theirs }) => [name, settings, sequences, theirs]),
    [
      ['peer.cjs', 'made up', 1, { prefillTokensPerS: same(20), decodeTokensPerS: same(8) }],
      ['peer.cjs', 'made up', 2, { prefillTokensPerS: same(40), decodeTokensPerS: same(16) }],
    ],
  );
  assert.equal(result.peerModel, 'tiny');
});

test('bench serve: one run per concurrency, without errors', async () => {
  const args = ['--concurrency', '1,2', '-p', '8', '-n', '4', '--seconds', '1', '--threads', '1'];
  const result = await run('bench-serve', 'bench', 'serve', '--model', model, ...args);
  assert.deepEqual(
    runsOf(result).map(({ concurrency, errors }) => [concurrency, errors]),
    [
      [1, 0],
      [2, 0],
    ],
  );
  for (const { outputTokensPerS } of runsOf(result)) assert.ok(Number(outputTokensPerS) > 0);
});

test('bench constrained: one run per batch and constraint', async () => {
  const args = ['-n', '16', '--batch', '1,2', '--rounds', '3', '--threads', '1'];
  const result = await run('bench-constrained', 'bench', 'constrained', '--model', model, ...args);
  assert.deepEqual(
    runsOf(result).map(({ batch, constraint, besideFreeMs }) => [batch, constraint, besideFreeMs === null]),
    [
      [1, 'schema', true],
      [1, 'regex', true],
      [2, 'schema', false],
      [2, 'regex', false],
    ],
  );
});

test('bench serve --workload shared-prefix: what was computed is what has to be', async () => {
  const args = ['--workload', 'shared-prefix', '--concurrency', '3', '-p', '100', '-n', '4', '--threads', '1'];
  const result = await run('bench-serve-shared-prefix', 'bench', 'serve', '--model', model, ...args);
  const counted = runsOf(result).map(({ isShared, prefillTokens }) => [isShared, prefillTokens]);
  // Six blocks of 16 of the first hundred tokens; twenty more are each user's own.
  assert.deepEqual(counted, [
    [true, 120 + 2 * 24],
    [false, 3 * 120],
  ]);
});

test('bench serve --workload trace: every figure measured and simulated', async () => {
  const trace = ['--workload', 'trace', '--trace', 'poisson:rate=50,requests=20,prompt=30,output=5'];
  const result = await run('bench-serve-trace', 'bench', 'serve', '--model', model, '--threads', '1', ...trace);
  assert.equal(runsOf(result).length, 9);
  for (const { measured, simulated } of runsOf(result)) assert.ok(Number(measured) > 0 && Number(simulated) > 0);
});

test('bench serve --workload long-prompt, --overhead: figures for each run', async () => {
  const long = await writeTinyModel(join(folder, 'long.gguf'), { context: 65_536 });
  const base = ['bench', 'serve', '--model', long, '--threads', '1', '--concurrency', '2'];
  const arriving = await run('bench-serve-long-prompt', ...base, '--workload', 'long-prompt', '-p', '2000');
  assert.deepEqual(
    runsOf(arriving).map(({ itlTargetMs }) => itlTargetMs),
    [100, 60_000],
  );
  const adds = await run('bench-serve-overhead', ...base, '--overhead', '--seconds', '1', '--rounds', '2');
  assert.deepEqual(
    runsOf(adds).map(({ batch }) => batch),
    [2],
  );
});

test('bench serve --workload summarize: both servers give the same answers', async () => {
  const args = ['--workload', 'summarize', '--concurrency', '2', '-n', '40', '--threads', '1'];
  const result = await run('bench-serve-summarize', 'bench', 'serve', '--model', model, ...args);
  assert.deepEqual(
    runsOf(result).map(({ text, concurrency }) => [text, concurrency]),
    [
      ['summary', 2],
      ['story', 2],
    ],
  );
});

test('bench accounting: one run per batch', async () => {
  const args = ['--batch', '1,3', '--generate', '48', '--energy-meter', 'tdp', '--threads', '1'];
  const result = await run('bench-accounting', 'bench', 'accounting', '--model', model, ...args);
  assert.deepEqual(
    runsOf(result).map(({ batch }) => batch),
    [1, 3],
  );
  assert.equal(result.meter, 'CPU time at 10 W a core');
});

test('tune: every kernel is measured, and what is kept is what was found', async () => {
  const home = join(folder, 'home');
  const result = await run('tune', 'tune', '--ms', '1', '--threads', '1', '--home', home);
  assert.equal(runsOf(result).length, 4 * 5);
  const { lookups } = result as { readonly lookups: LookupTokens };
  const cpu = loadAddon().cpuInfo();
  assert.deepEqual(await chooseLookups(null, home, cpu), { lookups, from: 'tuning' });
  assert.equal((await chooseLookups(null, home, { ...cpu, brand: 'another' })).from, 'default');
});

test('bench start: packed and read from disk', async () => {
  const result = await run('bench-start', 'bench', 'start', '--model', model, '--rounds', '3', '--threads', '1');
  assert.deepEqual([result.model, result.rounds], ['tiny', 3]);
});

test('simulate: one run per policy on the same requests, the model measured or its costs given', async () => {
  const trace = ['--trace', 'closed:clients=3,requests=12,prompt=40,output=6'];
  const policies = ['--policy', 'maxSequences=1', '--policy', 'maxSequences=3,itlTarget=50'];
  const given = await run('simulate', 'simulate', ...trace, ...policies, '--cost', '1,0.1,0.1,0.001,0.002');
  const counts = runsOf(given).map(({ completed, prefillTokens, outputTokens }) => [
    completed,
    prefillTokens,
    outputTokens,
  ]);
  assert.deepEqual(counts, [
    [12, 480, 72],
    [12, 480, 72],
  ]);
  const [one, three] = runsOf(given).map(({ seconds }) => Number(seconds));
  assert.ok(one !== undefined && three !== undefined && three < one, `${three} s together, ${one} s one by one`);
  const measured = await run('simulate', 'simulate', ...trace, '--model', model, '--threads', '1');
  assert.deepEqual([measured.model, runsOf(measured)[0]?.completed], ['tiny', 12]);
});

test('eval perplexity: windows and protocol decide how many tokens are scored', async () => {
  const args = ['eval', 'perplexity', '--model', model, '--data', text, '--window', '64', '--windows', '3'];
  const full = await run('eval-perplexity', ...args);
  assert.equal(full.tokens, 3 * 63);
  const half = await run('eval-perplexity', ...args, '--protocol', 'second-half');
  assert.equal(half.tokens, 3 * 31);
});

test('eval agreement: a model with f32 activations agrees with itself entirely', async () => {
  const args = ['--model', model, '--data', text, '--window', '64', '--windows', '2'];
  const same = await run('eval-agreement', 'eval', 'agreement', ...args, '--activations', 'f32');
  assert.deepEqual([same.klMean, same.sameTop, same.tokens], [0, 1, 126]);
  const rounded = await run('eval-agreement', 'eval', 'agreement', ...args);
  assert.ok(Number(rounded.klMean) > 0, 'int8 activations are not the same as f32');
  const { perplexity } = rounded.candidate as { perplexity: number };
  const alone = await run('eval-perplexity', 'eval', 'perplexity', ...args);
  assert.equal(perplexity, alone.perplexity);
});

test('eval compare: a file on its own path, rounded and not; the report is written', async () => {
  const out = join(folder, 'report.html');
  const args = ['--reference', model, '--candidates', `${model}#activations=f32,${model}`, '--data', text];
  const size = ['--window', '128', '--windows', '2', '--rounds', '1', '--threads', '1', '--out', out];
  const result = await run('eval-compare', 'eval', 'compare', ...args, ...size);
  const [same, rounded] = result.candidates as readonly Record<string, unknown>[];
  assert.deepEqual([same?.name, same?.klMean, same?.ratio, same?.sameTop], ['tiny#activations=f32', 0, 1, 1]);
  assert.deepEqual(same?.greedyTokens, { median: 64, min: 64 });
  assert.ok(Number(rounded?.klMean) > 0 && Number(rounded?.ratioError) > 0);
  const { perplexity } = result.reference as { perplexity: number };
  assert.ok(Math.abs((Number(rounded?.ratio) * perplexity) / Number(rounded?.perplexity) - 1) < 1e-4);
  const [none, some] = [same, rounded].map((model) => (model?.layerErrors ?? []) as readonly number[]);
  assert.ok(none?.length && none.every((error) => error === 0));
  assert.ok(some?.length === none.length && some.every((error) => error > 0 && error < 0.5));
  const alone = await run(
    'eval-perplexity',
    'eval',
    'perplexity',
    '--model',
    model,
    '--data',
    text,
    ...size.slice(0, 4),
  );
  assert.equal(rounded?.perplexity, alone.perplexity);
  assert.match(readFileSync(out, 'utf8'), /^<!doctype html>.*tiny#activations=f32.*<\/html>\n$/s);
});

test('eval gate: passes within the limits; beyond them a coded failure, with the figures on stdout', async () => {
  const args = ['eval', 'gate', '--reference', model, '--candidate', model, '--data', text, '--window', '64'];
  const passed = await run('eval-gate', ...args, '--max-kl', '1', '--max-ppl-ratio', '2');
  assert.deepEqual([passed.isPassed, passed.excess], [true, []]);
  const command = [...program, ...args, '--max-kl', '1e-12', '--json'];
  await assert.rejects(promisify(execFile)(process.execPath, command, { cwd: root }), (error: unknown) => {
    const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: number };
    assert.match(stderr, /nibble: quality_gate_failed: .*mean KL divergence/);
    const result: unknown = JSON.parse(stdout);
    assert.ok(validator('eval-gate')(result));
    assert.deepEqual([(result as { isPassed: boolean }).isPassed, code], [false, 1]);
    return true;
  });
});

test('eval choices: every task is scored, and what guessing gets is known', async () => {
  const path = join(folder, 'tasks.jsonl');
  const line = (choices: readonly string[]) => `${JSON.stringify({ context: 'the small', choices, answer: 1 })}\n`;
  writeFileSync(path, line([' model', ' text']) + line([' a', ' b', ' c', ' d']));
  const result = await run('eval-choices', 'eval', 'choices', '--model', model, '--data', path);
  assert.deepEqual([result.tasks, result.chance], [2, 0.375]);
});

test('eval agile: 4 bits for none, for a share by attention to the first token and by chance', async () => {
  const args = ['--model', model, '--data', text, '--calibration', text, '--window', '64', '--windows', '2'];
  const result = await run('eval-agile', 'eval', 'agile', ...args, '--shares', '0.4');
  const found = runsOf(result).map(({ selection, rowShare }) => [selection, Number(rowShare)] as const);
  assert.deepEqual(
    found.map(([selection]) => selection),
    ['f32', 'a8', 'most', 'least', 'random'],
  );
  const [f32, a8, ...agile] = found.map(([, rowShare]) => rowShare);
  assert.deepEqual([f32, a8], [0, 0]);
  // Three of four inputs; the thresholds are those of the text's first windows.
  for (const rowShare of agile) assert.ok(rowShare > 0.2 && rowShare < 0.4, `${rowShare}`);
});

test('eval activations: every scheme, Tender by its groups', async () => {
  const args = ['--model', model, '--data', text, '--calibration', text, '--window', '64', '--windows', '1'];
  const names = 'none,tensor,token,channel,smooth,tender-up,tender-down,tender-dynamic';
  const result = await run('eval-activations', 'eval', 'activations', ...args, '--schemes', names, '--groups', '1,4');
  const found = runsOf(result).map(({ scheme, groups }) => `${scheme} ${groups}`);
  const tender = ['up', 'down', 'dynamic'].flatMap((name) => [`tender-${name} 1`, `tender-${name} 4`]);
  assert.deepEqual(found, [...names.split(',', 5).map((name) => `${name} null`), ...tender]);
});

test('eval pruning: a suffix behind contexts that are whole, pruned by importance, by chance, cut', async () => {
  const args = ['--model', model, '--data', text, '--window', '768', '--windows', '1', '--questions', '1'];
  const result = await run('eval-pruning', 'eval', 'pruning', ...args, '--keeps', '0.5', '--after-layer', '0');
  const runs = runsOf(result);
  assert.deepEqual(
    runs.map(({ selection, keep }) => [selection, keep]),
    [
      ['all', 1],
      ['importance', 0.5],
      ['random', 0.5],
      ['recent', 0.5],
    ],
  );
  assert.equal(new Set(runs.map(({ perplexity }) => perplexity)).size, 4, 'four different contexts');
});

test('eval teacher-forced: every token of a continuation is a position', async () => {
  const path = join(folder, 'forced.jsonl');
  writeFileSync(path, '{"prompt":[40,41,42],"continuation":[43,44]}\n{"prompt":[50],"continuation":[51,52,53]}\n');
  const result = await run('eval-teacher-forced', 'eval', 'teacher-forced', '--model', model, '--data', path);
  assert.deepEqual([result.sequences, result.positions], [2, 5]);
  assert.equal(Number(result.same) + (result.differences as unknown[]).length, 5);
});

test('refusals are coded, and leave stdout empty', async () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['data_unreadable', ['eval', 'perplexity', '--model', model, '--data', join(folder, 'missing')]],
    ['data_too_short', ['eval', 'perplexity', '--model', model, '--data', text, '--window', '1024', '--threads', '1']],
    ['context_length_exceeded', ['eval', 'perplexity', '--model', model, '--data', text, '--window', '2048']],
    ['context_length_exceeded', ['bench', 'engine', '--model', model, '-p', '1024', '-n', '16']],
    ['invalid_request', ['bench', 'kernels', '--family', 'w3a8']],
    ['peer_failed', ['bench', 'peers', '--model', model, '--offline', '--home', folder]],
    ['peer_failed', ['bench', 'peers', '--model', model, '--peer', join(folder, 'missing')]],
    ['peer_failed', ['bench', 'peers', '--model', model, '--peer', '/bin/true']],
  ];
  writeFileSync(join(folder, 'short.txt'), 'short');
  for (const [code, args] of cases) {
    const actual =
      code === 'data_too_short' ? args.map((arg) => (arg === text ? join(folder, 'short.txt') : arg)) : args;
    const command = [...program, ...actual, '--json'];
    await assert.rejects(promisify(execFile)(process.execPath, command, { cwd: root }), (error: unknown) => {
      const { stdout, stderr, code: exit } = error as { stdout: string; stderr: string; code: number };
      assert.match(stderr, new RegExp(`nibble: ${code}: `));
      assert.deepEqual([stdout, exit], ['', 1], args.join(' '));
      return true;
    });
  }
});

test('docs/json.md names every schema and every top-level field', () => {
  const page = readFileSync(join(root, 'docs/json.md'), 'utf8');
  for (const name of readdirSync(schemas)) {
    if (name === 'machine.json') continue;
    assert.ok(page.includes(`\`${name}\``), name);
    for (const field of Object.keys(readSchema(name).properties)) assert.ok(page.includes(`\`${field}`), field);
  }
});

test('schemas refuse fields that they do not know', () => {
  const validate = validator('bench-roofline');
  const machine = { cpu: 'x', isa: 'avx2', threads: 1, cores: 1 };
  const run = { isa: 'avx2', threads: 1, readGBs: 1, int8GMacs: 1, fp32GMacs: 1 };
  const result = { runs: [run], machine, model: null, commit: 'c' };
  assert.equal(validate(result), true);
  assert.equal(validate({ ...result, extra: 1 }), false);
  assert.equal(validate({ ...result, runs: [{ ...run, readGBs: 'fast' }] }), false);
  assert.equal(validate({ ...result, machine: { ...machine, isa: 'sse' } }), false);
});
