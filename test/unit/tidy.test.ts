/**
 * Sizes and habits of the source text. What exceeded a bound when the rule came stands in tidy-ratchet.json and may
 * only shrink. Types, unused code and formatting are the linters' part.
 */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSource, root, trackedFiles } from '../support/imports.js';

const fileLinesMax = 400;
const columnsMax = 120;
const functionLinesMax = 60;
const fileBytesMax = 512 * 1024;

type Ratchet = Readonly<Record<'fileLines' | 'longLines' | 'functionLines', Readonly<Record<string, number>>>>;
const ratchet = JSON.parse(readFileSync(new URL('tidy-ratchet.json', import.meta.url), 'utf8')) as Ratchet;

const sources = trackedFiles('*.ts', '*.tsx', '*.mjs', '*.cpp', '*.h', '*.c', '*.py', '*.css', '*.html');
const texts = new Map(sources.map((file) => [file, readSource(file)]));
const linesOf = (text: string): readonly string[] => text.replace(/\n$/, '').split('\n');

/** Names and lengths of the functions of a clang-formatted file: from a line at column 0 to the next `}` there. */
function cppFunctions(text: string): readonly { readonly name: string; readonly lines: number }[] {
  const functions: { name: string; lines: number }[] = [];
  const notFunction = /^(namespace|class|struct|union|enum|extern|using)\b/;
  let start: { readonly name: string; readonly line: number } | null = null;
  let isOpen = false;
  linesOf(text).forEach((line, index) => {
    if (start === null && /^[A-Za-z_].*\(/.test(line) && !notFunction.test(line)) {
      start = { name: /([\w:~]+)\(/.exec(line)?.[1] ?? line, line: index };
      isOpen = false;
    }
    if (start === null) return;
    isOpen ||= line.endsWith('{');
    const isEnd = isOpen ? line.startsWith('}') : /[;}]$/.test(line);
    if (!isEnd) return;
    if (isOpen) functions.push({ name: start.name, lines: index - start.line + 1 });
    start = null;
  });
  return functions;
}

/** Nothing exceeds `max` but what the ratchet knows; that hasn't grown, and still exceeds it. */
function assertExcess(
  sizes: Iterable<readonly [string, number]>,
  max: number,
  known: Readonly<Record<string, number>>,
): void {
  const excess = new Map([...sizes].filter(([, size]) => size > max));
  const grown = [...excess].filter(([name, size]) => size > (known[name] ?? max));
  assert.deepEqual(grown, [], `more than ${max}: shorten it`);
  const mended = Object.keys(known).filter((name) => !excess.has(name));
  assert.deepEqual(mended, [], 'mended: take it out of tidy-ratchet.json');
}

test('no file is long', () => {
  assert.ok(sources.length > 100);
  const sizes = [...texts].map(([file, text]) => [file, linesOf(text).length] as const);
  assertExcess(sizes, fileLinesMax, ratchet.fileLines);
});

test('no line is long, but for a message that is better not cut in two', () => {
  const isLong = (line: string) => [...line.replace(/(['"`]).{40,}\1/, '')].length > columnsMax;
  const count = (text: string) => linesOf(text).filter(isLong).length;
  const sizes = [...texts].map(([file, text]) => [file, count(text)] as const);
  assertExcess(sizes, 0, ratchet.longLines);
});

test('no C++ function is long, unrolled kernels aside', () => {
  const text = 'int a(int x) {\n  f(\n  );\n}\nint b(int x,\n      int y);\nvoid C::d() {\n}\nstruct E {\n};\n';
  assert.deepEqual(cppFunctions(text), [
    { name: 'a', lines: 4 },
    { name: 'C::d', lines: 2 },
  ]);
  const files = [...texts].filter(([file]) => /\.(cpp|h)$/.test(file) && !/^native\/kernels\/\w+\//.test(file));
  const sizes = files.flatMap(([file, source]) =>
    cppFunctions(source).map(({ name, lines }) => [`${file} ${name}`, lines] as const),
  );
  assert.ok(sizes.length > 200);
  assertExcess(sizes, functionLinesMax, ratchet.functionLines);
});

/** Puts the words together here, so that this file doesn't hold them itself. */
const words = (...parts: readonly string[]): RegExp => new RegExp(parts.join('|'));

test('nothing is left for later, and no test is left out', () => {
  const later = words('\\bTO' + 'DO\\b', '\\bFIX' + 'ME\\b', '\\bXX' + 'X\\b');
  const leftOut = words(
    '\\b(test|it|describe|suite)\\.(sk' + 'ip|on' + 'ly|to' + 'do)\\b',
    '\\b(sk' + 'ip|on' + 'ly): true',
  );
  for (const [file, text] of texts) {
    assert.doesNotMatch(text, later, file);
    if (file.startsWith('test/')) assert.doesNotMatch(text, leftOut, file);
  }
});

test('types are never switched off', () => {
  const untyped = words(
    '(:|\\bas|<|\\|)\\s*an' + 'y\\b(?!\\s+\\w)',
    '@ts-(igno' + 're|noche' + 'ck)',
    'biome-igno' + 're',
  );
  for (const [file, text] of texts) if (/\.tsx?$/.test(file)) assert.doesNotMatch(text, untyped, file);
});

test("no path of somebody's machine", () => {
  const machine = words('/ro' + 'ot/', '/wo' + 'rk/', '/ho' + 'me/\\w');
  for (const file of trackedFiles()) {
    if (!/\.(md|json|ts|mjs|cpp|h|py|yaml|yml|txt|gyp|cmake)$|\.ci\/|Dockerfile/.test(file)) continue;
    assert.doesNotMatch(readSource(file), machine, file);
  }
});

test('no large or binary file is kept in the repository', () => {
  const large = trackedFiles().filter((file) => statSync(join(root, file)).size > fileBytesMax);
  assert.deepEqual(large, []);
  assert.deepEqual(trackedFiles('*.gguf', '*.node', '*.so', '*.o', '*.a', '*.whl'), []);
});

test('the lock file knows the packages of every platform', () => {
  // npm leaves out those that the registry at hand lacks, and `npm ci` then refuses the file, on any machine.
  type Locked = { readonly optionalDependencies?: Readonly<Record<string, string>> };
  const { packages } = JSON.parse(readSource('package-lock.json')) as {
    readonly packages: Readonly<Record<string, Locked>>;
  };
  const wanted = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  assert.ok(wanted.length > 10);
  const missing = wanted.filter((name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`)));
  assert.deepEqual(missing, []);
});
