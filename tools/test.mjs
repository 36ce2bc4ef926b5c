// Runs the tests, after building what is stale: the files of test/integration, test/native and test/unit in parallel,
// the slow ones first, so that no core waits for them; then those of test/e2e, two at a time, and at last those which
// want the machine for themselves.
// Usage: node tools/test.mjs [--quick] [--sanitize address|thread] [file …]
//   --quick     test/unit only: no model file, no network
//   --sanitize  with the addon built for AddressSanitizer and UndefinedBehaviorSanitizer, or ThreadSanitizer: hours for
//               everything, so it is for the night; what runs on other CPUs or builds by itself is left out
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildNative, isNativeStale, runtimeOf } from './build-native.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
/** No test may hang: the slowest file, with builds of its own, takes minutes on two cores. */
const fileMsMax = 15 * 60_000;
const sanitizedFileMsMax = 120 * 60_000;
const slowestShown = 10;
/** Of test/e2e: what looks at time, memory or signals; `npx nibble`, as in the README, compiles the program anew. */
const aloneNames = [
  ...['fault-files', 'fleet-chaos', 'real-disconnects', 'real-memory-limit', 'real-nice', 'real-pressure'],
  ...['readme', 'real-quota', 'real-responsiveness', 'real-shutdown', 'real-soak', 'server-process'],
];
const sanitizers = { address: 'asan', thread: 'tsan' };
/** Emulated CPUs can't load a sanitizer, some tests build what they need (one with its own), one compares speeds. */
const unsanitized = new RegExp(
  ['kernels-elsewhere', 'native.threads', 'old-cpu', 'level-symbols', 'deployment']
    .concat(['real-quota', 'real-memory-limit', 'resident-memory'])
    .join('|'),
);

function filesOf(folder) {
  if (!existsSync(join(root, folder))) return [];
  const names = readdirSync(join(root, folder), { recursive: true }).filter((name) => name.endsWith('.test.ts'));
  return names.map((name) => join(folder, name)).sort();
}

/** Whether a source is newer than the compiled program. */
function isDistStale() {
  const main = join(root, 'dist/cli/main.js');
  if (!existsSync(main)) return true;
  const built = statSync(main).mtimeMs;
  const sources = readdirSync(join(root, 'src'), { recursive: true }).map((name) => join(root, 'src', name));
  return [...sources, join(root, 'tsconfig.json')].some((path) => statSync(path).mtimeMs > built);
}

function run(command, args, options = {}) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
}

function build(kind) {
  if (isNativeStale(kind) && buildNative(kind) !== 0) return false;
  return !isDistStale() || run('npm', ['run', '--silent', 'build:ts']).status === 0;
}

/** Makes the tests and all that they start use a sanitizer. Leaks aren't looked for: V8 frees nothing at its end. */
function sanitizerEnvironment(sanitizer) {
  const kind = sanitizers[sanitizer];
  const suppressions = join(root, 'tools', 'tsan-suppressions.txt');
  return {
    LD_PRELOAD: runtimeOf(kind),
    NIBBLE_ADDON_BUILD: kind,
    ASAN_OPTIONS: 'detect_leaks=0',
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    TSAN_OPTIONS: `halt_on_error=1:suppressions=${suppressions}`,
  };
}

/** The default model, downloaded at most once, so that no test waits for it; null if it can't be had. */
function fetchModel() {
  const given = process.env.NIBBLE_TEST_MODEL || 'default';
  const stdio = ['ignore', 'pipe', 'inherit'];
  const { status, stdout } = run(process.execPath, ['dist/cli/main.js', 'pull', given], { stdio, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}

/** Runs files with node:test; returns whether all passed, the time of each, and what was skipped. */
function runFiles(files, concurrency, env) {
  if (files.length === 0) return { ok: true, times: [], skipped: [] };
  const folder = mkdtempSync(join(tmpdir(), 'nibble-test-'));
  const reportFile = join(folder, 'report.json');
  const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
  reporters.push('--test-reporter=./tools/test-report.mjs', `--test-reporter-destination=${reportFile}`);
  const msMax = env.LD_PRELOAD === undefined ? fileMsMax : sanitizedFileMsMax;
  const limits = [`--test-concurrency=${concurrency}`, `--test-timeout=${msMax}`];
  try {
    const { status } = run(process.execPath, ['--import', 'tsx', '--test', ...limits, ...reporters, ...files], { env });
    const { times, skipped } = JSON.parse(readFileSync(reportFile, 'utf8'));
    return { ok: status === 0, times, skipped };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What runs together: lists of files, each with the number of files that run at once. */
function groups(isQuick, chosen) {
  const width = availableParallelism();
  if (chosen.length > 0) return [[chosen, 1]];
  if (isQuick) return [[filesOf('test/unit'), width]];
  const parallel = ['test/integration', 'test/native', 'test/unit'].flatMap(filesOf);
  const alone = aloneNames.map((name) => `test/e2e/${name}.test.ts`);
  const inPairs = filesOf('test/e2e').filter((file) => !alone.includes(file));
  return [
    [parallel, width],
    [inPairs, 2],
    [alone, 1],
  ];
}

function printSlowest(times) {
  const slowest = times.toSorted(([, a], [, b]) => b - a).slice(0, slowestShown);
  console.log('\nSlowest files:');
  for (const [file, ms] of slowest) console.log(`${(ms / 1000).toFixed(1).padStart(7)} s  ${relative(root, file)}`);
}

function main() {
  const options = { quick: { type: 'boolean' }, sanitize: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { sanitize } = values;
  if (sanitize !== undefined && !Object.hasOwn(sanitizers, sanitize)) {
    console.error('usage: node tools/test.mjs [--quick] [--sanitize address|thread] [file …]');
    return 2;
  }
  const started = performance.now();
  if (!build(sanitize === undefined ? 'release' : sanitizers[sanitize])) return 1;
  // Models of tests would only fill the user's cache of packed weights.
  const env = { ...process.env, NIBBLE_PACK_CACHE_MB: '0', NIBBLE_TEST_COMPILED: '1' };
  if (sanitize !== undefined) Object.assign(env, sanitizerEnvironment(sanitize));
  if (values.quick !== true && positionals.length === 0) {
    const model = fetchModel();
    if (model === null) {
      console.error('The tests need the default model, or NIBBLE_TEST_MODEL. Without it: npm run test:quick');
      return 1;
    }
    env.NIBBLE_TEST_MODEL = model;
  }
  const isWanted = (file) => sanitize === undefined || positionals.length > 0 || !unsanitized.test(file);
  const chosen = groups(values.quick === true, positionals);
  const results = chosen.map(([files, width]) => runFiles(files.filter(isWanted), width, env));
  printSlowest(results.flatMap(({ times }) => times));
  for (const [files] of chosen)
    for (const file of files) if (!isWanted(file)) console.log(`Left out, as a sanitizer is no use to it: ${file}`);
  const skipped = results.flatMap((result) => result.skipped);
  for (const name of skipped) console.log(`Skipped: ${name}`);
  const ok = results.every((result) => result.ok) && (skipped.length === 0 || process.env.CI !== 'true');
  console.log(`\n${ok ? 'Passed' : 'FAILED'} after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  return ok ? 0 : 1;
}

process.exit(main());
