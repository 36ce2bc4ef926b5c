// `bench all`: what its page says of results, and that every section and target fits the others. The commands run for
// real in test/integration/bench-json.test.ts.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { benchmarksPage } from '../../src/cli/bench/all/document.js';
import { cell, rowsAt } from '../../src/cli/bench/all/fields.js';
import { commandLine } from '../../src/cli/bench/all/run.js';
import { sectionsOf } from '../../src/cli/bench/all/sections.js';
import { judge, targets } from '../../src/cli/bench/all/targets.js';
import type { Outcome, Result, Section } from '../../src/cli/bench/all/types.js';

const all = sectionsOf({ data: 'text.txt', isQuick: false, otherIsa: 'avx2' });

function outcome(name: string, result: Result | null, failure: string | null = null): Outcome {
  const section = all.find((one) => one.name === name);
  assert.ok(section, name);
  return { section, command: commandLine(section), seconds: 3, result, failure };
}

const page = (outcomes: readonly Outcome[], isQuick = false) =>
  benchmarksPage({ commit: 'abc', date: '2026-01-02', minutes: 5, isQuick, command: 'nibble bench all', outcomes });

test('a figure is met or missed by its own limit, and by the row that it names', () => {
  const wanted = [
    { what: 'many', section: 'engine', where: { batch: 16 }, path: 'x', atLeast: 2, otherwise: 'too few' },
    { what: 'few', section: 'engine', where: { batch: 1 }, path: 'y.z', atMost: 2, otherwise: 'too many' },
    { what: 'spread', section: 'peers', where: {}, path: 'ratio', atLeast: 2, otherwise: '' },
    { what: 'not run', section: 'start', where: {}, path: 'x', atLeast: 2, otherwise: '' },
  ];
  const engine = {
    runs: [
      { batch: 1, x: 9, y: { z: 2.1 } },
      { batch: 16, x: 2, y: { z: 1 } },
    ],
  };
  const peers = { runs: [{ ratio: { median: 1.9, min: 1, max: 5 } }] };
  const judged = judge([outcome('engine', engine), outcome('peers', peers), outcome('start', null, 'no')], wanted);
  assert.deepEqual(
    judged.map(({ target, value, isMet }) => [target.what, value, isMet]),
    [
      ['many', 2, true],
      ['few', 2.1, false],
      ['spread', 1.9, false],
    ],
  );
});

test('the page names what was missed with its reason, what failed, and what a peer does better', () => {
  const run = { batch: 1, context: 0, prefillTokensPerS: 1234.4, prefillRooflineShare: 0.4, decodeTokensPerS: 7 };
  const engine = { machine: { cpu: 'Test CPU', cores: 2 }, model: 'm', runs: [{ ...run, decodeRooflineShare: 0.9 }] };
  const slower = { median: 0.5, min: 0.4, max: 2 };
  const peers = { runs: [{ peer: 'node-llama-cpp', sequences: 1, ratio: { prefill: { median: 3 }, decode: slower } }] };
  const text = page([outcome('engine', engine), outcome('peers', peers), outcome('serve', null, 'peer_failed: none')]);
  assert.match(text, /Test CPU, 2 cores/);
  assert.match(text, /2 of 4 figures/); // prefill against the peer and decode's share, of these four
  assert.match(text, /\| Prefill of 512 tokens, share of the roofline \| ≥ 50\.0 % \| 40\.0 % \| Attention/);
  assert.match(text, /\| Decode of one sequence, share of the roofline \| ≥ 65\.0 % \| 90\.0 % \| met \|/);
  assert.match(text, /^- Against llama\.cpp, node-llama-cpp: ratio\.decode 0\.5$/m);
  assert.doesNotMatch(text, /ratio\.prefill 3/);
  assert.match(text, /\| 1 \| 0 \| 1,234 \| 40\.0 % \| 7 \| 90\.0 % \|/);
  assert.match(text, /Not measured: peer_failed: none/);
  assert.doesNotMatch(page([outcome('engine', engine)], true), /What was wanted/);
});

test('cells: spreads, shares, missing fields, bars', () => {
  const row = { a: { median: 1.23456, min: 1, max: 20_000 }, b: 0.1234, c: null, d: 'x|y', e: true };
  const shown = (path: string, unit?: '%') => cell(row, unit === undefined ? ['', path] : ['', path, unit]);
  assert.deepEqual(
    [shown('a'), shown('b', '%'), shown('c'), shown('d'), shown('e'), shown('f.g')],
    ['1.235 (1–20,000)', '12.3 %', '–', 'x\\|y', 'yes', '–'],
  );
  assert.deepEqual(rowsAt({ runs: [{ a: 1 }, 5, null] }, 'runs'), [{ a: 1 }]);
});

/** The fields that a schema knows, `ratio.prefill` for one inside another. */
function hasField(schema: unknown, path: readonly string[], root: Record<string, unknown>): boolean {
  const node = schema as Record<string, unknown>;
  const reference = typeof node.$ref === 'string' ? node.$ref : '';
  if (reference.startsWith('#/$defs/')) {
    return hasField((root.$defs as Record<string, unknown>)[reference.slice(8)], path, root);
  }
  const choices = [...((node.oneOf ?? node.anyOf ?? []) as unknown[])];
  if (choices.length > 0) return choices.some((choice) => hasField(choice, path, root));
  if (node.type === 'array') return hasField(node.items, path, root);
  const [key, ...rest] = path;
  if (key === undefined) return true;
  const found = (node.properties as Record<string, unknown> | undefined)?.[key];
  return found !== undefined && hasField(found, rest, root);
}

test('every column and every target is a field of the result that it reads', () => {
  const schemaOf = ({ args }: Section) => {
    const workload = args.includes('--overhead') ? 'overhead' : (args[args.indexOf('--workload') + 1] ?? '');
    const isOther = args.includes('--overhead') || args.includes('--workload');
    const own = `${args[0]}-${args[1]}${isOther ? `-${workload}` : ''}`;
    const name = own === 'eval-recipes' ? 'eval-compare' : own;
    const path = new URL(`../../docs/schemas/${name}.json`, import.meta.url);
    assert.ok(existsSync(path), name);
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  };
  const check = (section: Section, rows: string, path: string) => {
    const schema = schemaOf(section);
    const full = `${rows}.${path}`.split('.').filter((key) => key !== '');
    assert.ok(hasField(schema, full, schema), `${section.name}: ${full.join('.')}`);
  };
  for (const section of all) {
    for (const { rows, columns } of section.tables) for (const [, path] of columns) check(section, rows, path);
  }
  for (const { section: name, rows = 'runs', where, path, atLeast, atMost } of targets) {
    const section = all.find((one) => one.name === name);
    assert.ok(section, name);
    for (const field of [path, ...Object.keys(where)]) check(section, rows, field);
    assert.ok((atLeast === undefined) !== (atMost === undefined), name);
  }
  assert.equal(new Set(all.map(({ name }) => name)).size, all.length);
});

test('a command stands as a shell takes it', () => {
  const section = {
    ...outcome('engine-avx2', null).section,
    args: ['bench', 'x', '--data', '/some/where/text.txt', '--trace', 'a b(c)'],
  };
  assert.equal(commandLine(section), "NIBBLE_ISA=avx2 nibble bench x --data text.txt --trace 'a b(c)'");
});
