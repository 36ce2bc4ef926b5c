// Do the tests notice? Changes one token of a source at a time, in a copy of the tree, runs its tests, and names the
// changes that nobody noticed. Some of these change nothing that can be seen; the others want a test.
// Usage: node tools/mutate.mjs TARGET [count] [seed]     (60 changes, seed 1; TARGET: see `targets`)
// The scheduler has a check of its own: tools/mutation.config.json.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../..');
/** Longer, and it doesn't end: noticed, but told apart, because a busy machine may be why. */
const testMs = 240_000;
const buildMs = 2_400_000;

const under = (folder, names, end) => names.map((name) => `${folder}/${name}${end}`);
const testsOf = (folder, ...names) => under(`test/${folder}`, names, '.test.ts');

const checkOf = (...parts) => ({
  configure: ['cmake', '-S', 'native', '-B', 'build/check', '-DNIBBLE_ADDON=OFF', '-DNIBBLE_CHECK=ON'],
  build: ['cmake', '--build', 'build/check', '--target', 'nibble_check', '-j', String(availableParallelism())],
  test: ['build/check/nibble_check', ...parts],
});
/** Sources, as git's patterns, and what builds and tests them. */
const targets = {
  cost: {
    files: [
      ...under('src/cost', ['attribution', 'step-work', 'price'], '.ts'),
      ...under('src/metering', ['cost-book', 'tally', 'energy-monitor', 'model-work', 'rapl', 'hwmon'], '.ts'),
    ],
    tests: [
      ...testsOf('unit', 'cost-attribution', 'cost-price', 'cost-book', 'engine-cost', 'metering-sensors'),
      ...testsOf('native', 'work-counters'),
    ],
  },
  recipes: {
    files: [
      ...under('src/quant', ['auto-search', 'channel-factors', 'layer-statistics', 'plan', 'recipe', 'scaling'], '.ts'),
      ...under('src/quant', ['statistics-file', 'transforms', 'tender/*'], '.ts'),
    ],
    tests: [
      ...testsOf('unit', 'auto-search', 'statistics-file', 'recipe', 'quant-tender-plan', 'nibble-metadata'),
      ...testsOf('native', 'channel-scaling', 'calibration', 'tender', 'agile'),
    ],
  },
  quantizers: {
    files: ['native/quant/*.cpp'],
    build: ['node', 'tools/build-native.mjs'],
    tests: testsOf('native', 'quantize-reference', 'quantize-edges', 'calibration'),
  },
  sampler: {
    files: [
      ...under('native/engine', ['sampler', 'sampler_state', 'token_selection'], '.cpp'),
      'native/engine/row_scan.h',
    ],
    ...checkOf('sampler', 'mask'),
  },
  packers: { files: ['native/formats/*.cpp'], ...checkOf('formats') },
  dispatch: { files: under('native/kernels', ['isa.cpp', 'isa_x86.h', 'kernel_table.cpp'], ''), ...checkOf('isa') },
};

/** What a token becomes. Operators stand between spaces, so that templates and generics are left alone. */
const swaps = new Map(
  Object.entries({
    ...{ '<': '<=', '<=': '<', '>': '>=', '>=': '>', '===': '!==', '!==': '===', '==': '!=', '!=': '==' },
    ...{ '&&': '||', '||': '&&', '+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '+=': '-=', '-=': '+=' },
    ...{ '<<': '>>', '>>': '<<', '??': '&&' },
    ...{ min: 'max', max: 'min', true: 'false', false: 'true' },
  }),
);
const token = new RegExp(
  [
    /(?<= )(?:[<>]=?|[!=]==?|&&|\|\||[-+*/%]=?|<<|>>|\?\?)(?= )/,
    /\b(?:min|max)(?=\()|\b(?:true|false)\b|(?<![\w.'$])\d+(?![\w.'])/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
);
const notCode = /\/\*[\s\S]*?\*\/|\/\/.*|`(?:\\.|[^`\\])*`|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/g;
/** Types, imports, and what the compiler alone looks at. */
const notRun =
  /^\s*(?:import|export type|type|#|static_assert|template|readonly)\b.*|^.*\bconstexpr size_t k[A-Z]\w*Max\b.*/;

function mutantsOf(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const code = text.replace(notCode, (part) => part.replace(/[^\n]/g, '\0'));
  const mutants = [];
  for (const { 0: old, index } of code.matchAll(token)) {
    const start = code.lastIndexOf('\n', index) + 1;
    const line = code.slice(start, code.indexOf('\n', index));
    if (notRun.test(line)) continue;
    const put = swaps.get(old) ?? String(Number(old) + 1);
    const number = code.slice(0, index).split('\n').length;
    const changed = text.slice(0, index) + put + text.slice(index + old.length);
    mutants.push({ file, changed, text, name: `${file}:${number}:${index - start + 1} ${old} → ${put}` });
  }
  return mutants;
}

/** A permutation that depends on the seed alone (mulberry32). */
function shuffle(list, seed) {
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return list
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/** In `tree`, the copy. */
function run(tree, [command, ...args], timeout) {
  const env = { ...process.env, NIBBLE_PROPERTY_RUNS: '200' };
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: tree, env, timeout, encoding: 'utf8' });
  return { isGood: status === 0, isLate: error?.code === 'ETIMEDOUT', output: `${stdout}${stderr}` };
}

function gitFiles(...patterns) {
  const { stdout } = spawnSync('git', ['ls-files', '-z', ...patterns], { cwd: root, encoding: 'utf8', maxBuffer: 1e8 });
  return stdout.split('\0').filter((name) => name !== '' && existsSync(join(root, name)));
}

/** The tree as git knows it, and the addon. What hasn't changed keeps its time, and isn't built again. */
function copyTree(tree) {
  const addon = 'build/release/Release/nibble.node';
  for (const file of [...gitFiles(), addon]) {
    const to = join(tree, file);
    const content = readFileSync(join(root, file));
    if (existsSync(to) && readFileSync(to).equals(content)) continue;
    mkdirSync(dirname(to), { recursive: true });
    if (file === addon) cpSync(join(root, file), to);
    else writeFileSync(to, content);
  }
  if (!existsSync(join(tree, 'node_modules'))) symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
}

function testCommand(tree, { test, tests }) {
  if (test !== undefined) return test;
  // One process for all files: to start one takes longer than most tests.
  writeFileSync(join(tree, 'mutate.ts'), tests.map((file) => `import './${file}';\n`).join(''));
  return ['node', '--import', 'tsx', 'mutate.ts'];
}

function tryMutant(tree, { file, changed, text }, { build }, test) {
  writeFileSync(join(tree, file), changed);
  try {
    if (build !== undefined && !run(tree, build, buildMs).isGood) return 'invalid';
    const { isGood, isLate } = run(tree, test, testMs);
    return isGood ? 'survived' : isLate ? 'endless' : 'noticed';
  } finally {
    writeFileSync(join(tree, file), text);
  }
}

function main([name, count = '60', seed = '1']) {
  const target = Object.hasOwn(targets, name ?? '') ? targets[name] : undefined;
  if (target === undefined) {
    console.error(`usage: node tools/mutate.mjs ${Object.keys(targets).join('|')} [count] [seed]`);
    return 2;
  }
  const tree = join(root, 'build', 'mutate', name);
  copyTree(tree);
  const test = testCommand(tree, target);
  for (const command of [target.configure, target.build, test]) {
    const { isGood, output } = command === undefined ? { isGood: true } : run(tree, command, buildMs);
    if (isGood) continue;
    console.error(`${command.join(' ')} fails without any change:\n${output}`);
    return 1;
  }
  const all = gitFiles(...target.files).flatMap(mutantsOf);
  const counts = { noticed: 0, endless: 0, survived: 0, invalid: 0 };
  for (const mutant of shuffle(all, Number(seed)).slice(0, Number(count))) {
    const result = tryMutant(tree, mutant, target, test);
    counts[result] += 1;
    console.log(`${result.padEnd(8)}  ${mutant.name}`);
  }
  const { survived, invalid } = counts;
  const noticed = counts.noticed + counts.endless;
  console.log(
    `${name}: ${noticed} of ${noticed + survived} noticed (${invalid} don't compile), of ${all.length} possible`,
  );
  return 0;
}

process.exitCode = main(process.argv.slice(2));
