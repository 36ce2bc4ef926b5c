/** The arrows between folders, as ARCHITECTURE.md draws them, read from the imports. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cppIncludes,
  findCycle,
  type Import,
  readSource,
  trackedFiles,
  typescriptImports,
} from '../support/imports.js';

const sources = trackedFiles('src/*.ts');
const imports = sources.flatMap((file) => typescriptImports(file, readSource(file)));
const native = trackedFiles('native/*.cpp', 'native/*.h');
const includes = native.flatMap((file) => cppIncludes(file, readSource(file)));

/** `src/engine/open.ts` → `engine`; a file beside the folders, such as `src/limits.ts`, is its own name. */
const folderOf = (file: string): string => file.split('/')[1] ?? '';
/** `native/kernels/avx2/simd.h` → `kernels/avx2`; files at the top are ``. */
const nativeFolderOf = (file: string): string => file.split('/').slice(1, -1).join('/');
const show = ({ from, to }: Import): string => `${from} imports ${to}`;

/** The contract is types and a few constants: it may be seen from everywhere, unlike the rest of its folder. */
const contract = 'src/native/contract.ts';
const common = ['errors.ts', 'limits.ts', 'random.ts', 'worker-thread.ts'];
const settings = ['config.ts', 'setting-file.ts'];

/** Folders whose code a folder may use. Types of a lower folder may be named from further up. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  'limits.ts': [],
  'random.ts': [],
  'worker-thread.ts': [],
  'setting-file.ts': ['errors.ts'],
  'config.ts': [...common, 'setting-file.ts'],
  native: ['errors.ts'],
  scheduler: [],
  cost: ['random.ts'],
  report: [],
  ui: [],
  metering: [...common, 'cost'],
  model: common,
  grammar: [...common, 'model'],
  engine: [...common, 'config.ts', 'scheduler', 'grammar', 'model', 'cost', 'metering', 'native'],
  quant: [...common, 'config.ts', 'engine', 'model', 'native'],
  server: [...common, ...settings, 'engine'],
  cli: [
    ...[...common, ...settings, 'server', 'engine', 'quant', 'model', 'cost', 'metering', 'native', 'scheduler'],
    'report',
    'ui',
  ],
};
/** Lower folders of which `server` may name the types that the engine hands it. */
const typeArrows: Readonly<Record<string, readonly string[]>> = { server: ['model', 'grammar', 'metering'] };

function isAllowed({ from, to, isTypeOnly }: Import): boolean {
  const [source, target] = [folderOf(from), folderOf(to)];
  if (source === target || to === contract) return true;
  if (isTypeOnly && (typeArrows[source] ?? []).includes(target)) return true;
  return (arrows[source] ?? []).includes(target);
}

test('the reader sees every kind of import', () => {
  const text = [
    "import { a, type B } from './a.js';",
    "import type { C } from '../c/c.js';",
    "import { type D, type E } from './d.js';",
    'import {\n  f,\n  g,\n} from "never"; // only single quotes are ours',
    "import {\n  f,\n  type G,\n} from './f.js';",
    "import 'node:fs';",
    "export { h } from './h.js';",
    "const later = await import('./later.js');",
  ].join('\n');
  const found = typescriptImports('src/x/x.ts', text).map(({ to, isTypeOnly }) => `${to}${isTypeOnly ? ' type' : ''}`);
  assert.deepEqual(found, [
    'src/x/a.ts',
    'src/c/c.ts type',
    'src/x/d.ts type',
    'src/x/f.ts',
    'node:fs',
    'src/x/h.ts',
    'src/x/later.ts',
  ]);
  const own = cppIncludes('native/a/b.cpp', '#include "../c/d.h"\n  # include <napi.h>\n');
  assert.deepEqual(
    own.map(({ to, isOwn }) => [to, isOwn]),
    [
      ['native/c/d.h', true],
      ['napi.h', false],
    ],
  );
  const chain = [own[0], { ...own[0], from: 'native/c/d.h', to: 'native/a/b.cpp' }] as Import[];
  assert.deepEqual(findCycle(chain), ['native/a/b.cpp', 'native/c/d.h', 'native/a/b.cpp']);
  assert.equal(findCycle(chain.slice(1)), null);
});

test('every own import names a file that exists', () => {
  const known = new Set([...sources, ...native]);
  const missing = [...imports, ...includes].filter(({ isOwn, to }) => isOwn && !known.has(to));
  assert.deepEqual(missing.map(show), []);
});

test('TypeScript folders import only what lies below them', () => {
  assert.ok(imports.length > 100);
  assert.deepEqual(
    sources.map(folderOf).filter((folder) => !(folder in arrows)),
    [],
  );
  const wrong = imports.filter((entry) => entry.isOwn && !isAllowed(entry));
  assert.deepEqual(wrong.map(show), []);
});

test('the scheduler and the cost models are pure: no package, no platform, no clock, no chance', () => {
  const files = trackedFiles('src/scheduler/*.ts', 'src/cost/*.ts');
  assert.ok(files.length > 0);
  const outside = files.flatMap((file) => typescriptImports(file, readSource(file))).filter(({ isOwn }) => !isOwn);
  assert.deepEqual(outside.map(show), []);
  const impure =
    /\b(Date|performance|process|setTimeout|setInterval|setImmediate|queueMicrotask|fetch|console)\s*[.(]|Math\.random/;
  for (const file of files) assert.doesNotMatch(readSource(file), impure, file);
});

test('only src/native loads a binary, only the server runs Fastify', () => {
  for (const file of sources.filter((name) => !name.startsWith('src/native/'))) {
    assert.doesNotMatch(readSource(file), /\bcreateRequire\b|\bdlopen\b|\.node['"`]/, file);
  }
  const fastify = imports
    .filter(({ to, isTypeOnly }) => /^@?fastify\b/.test(to) && !isTypeOnly)
    .map(({ from }) => from);
  assert.ok(fastify.length > 0);
  assert.deepEqual(
    fastify.filter((file) => !file.startsWith('src/server/')),
    [],
  );
});

test('the environment is read by the commands alone, but for the places that stand here', () => {
  const others = ['src/model/sources/resolve.ts', 'src/native/load.ts'];
  const readers = sources.filter((file) => readSource(file).includes('process.env'));
  assert.deepEqual(
    readers.filter((file) => !file.startsWith('src/cli/') && !others.includes(file)),
    [],
  );
});

test('TypeScript modules do not import each other in circles', () => {
  assert.equal(findCycle(imports.filter(({ isOwn, isTypeOnly }) => isOwn && !isTypeOnly)), null);
});

/** `kernels` is the tables and their dispatch; `kernels/generic` is text that each level compiles for itself. */
const levelParts = ['kernels', 'kernels/generic'];
const nativeArrows: Readonly<Record<string, readonly string[]>> = {
  '': [],
  threads: [''],
  formats: [''],
  kernels: ['', 'formats', 'kernels/reference'],
  'kernels/generic': ['formats', 'kernels'],
  'kernels/reference': ['formats', 'kernels'],
  'kernels/avx2': levelParts,
  'kernels/avxvnni': [...levelParts, 'kernels/avx2'],
  'kernels/avx512': levelParts,
  'kernels/neon': levelParts,
  attention: ['', 'formats', 'kernels', 'threads'],
  engine: ['', 'formats', 'kernels', 'threads', 'attention'],
  quant: ['', 'formats', 'kernels', 'threads', 'engine'],
  reconstruct: ['', 'formats', 'kernels', 'threads', 'engine', 'quant'],
  bench: ['', 'formats', 'kernels', 'threads'],
  check: ['', 'formats', 'kernels', 'kernels/reference', 'threads', 'engine'],
  addon: ['', 'formats', 'kernels', 'threads', 'engine', 'quant', 'reconstruct', 'bench', 'check'],
};

test('native folders include only what lies below them', () => {
  assert.ok(includes.length > 100);
  assert.deepEqual(
    native.map(nativeFolderOf).filter((folder) => !(folder in nativeArrows)),
    [],
  );
  const wrong = includes.filter(({ from, to, isOwn }) => {
    const [source, target] = [nativeFolderOf(from), nativeFolderOf(to)];
    return isOwn && source !== target && !(nativeArrows[source] ?? []).includes(target);
  });
  assert.deepEqual(wrong.map(show), []);
});

test('only native/addon knows Node', () => {
  const wrong = includes.filter(({ from, to }) => {
    return /^(napi|node|node_api|js_native_api|uv|v8)\b.*\.h$/.test(to) && nativeFolderOf(from) !== 'addon';
  });
  assert.deepEqual(wrong.map(show), []);
  assert.ok(includes.some(({ to }) => to === 'napi.h'));
});

test('native files do not include each other in circles', () => {
  assert.equal(findCycle(includes.filter(({ isOwn }) => isOwn)), null);
});

test('the levels know nothing of the standard library that the linker could share', () => {
  // Weak symbols of std:: templates, built with AVX-512, would be used by the rest of the program too.
  const inLevels = includes.filter(({ from }) => /^native\/kernels\/(generic|avx|neon)/.test(from));
  const allowed =
    /^(cstddef|cstdint|cstdlib|cstring|atomic|bit|type_traits|limits|immintrin\.h|arm_neon\.h|simde\/.*)$/;
  const wrong = inLevels.filter(({ to, isOwn }) => !isOwn && !allowed.test(to));
  assert.deepEqual(wrong.map(show), []);
});
