// Builds the native addon with CMake into build/<kind>/Release/nibble.node; incremental. src/native/load.ts loads the
// kind that NIBBLE_ADDON_BUILD names, "release" by default.
// Usage: node tools/build-native.mjs [--debug | --asan | --tsan]
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPrebuilt } from './prebuilt.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What each kind adds to the plain build. */
const kinds = {
  release: [],
  debug: ['--CDCMAKE_BUILD_TYPE=Debug', '--CDCMAKE_CXX_FLAGS_DEBUG=-g -D_GLIBCXX_ASSERTIONS'],
  asan: ['--CDNIBBLE_SANITIZE=address'],
  tsan: ['--CDNIBBLE_SANITIZE=thread'],
};
const sanitizerRuntimes = { asan: 'libasan.so', tsan: 'libtsan.so' };

/** The path of the addon of a kind. */
export function addonPath(kind) {
  return join(root, 'build', kind, 'Release', 'nibble.node');
}

/** Whether the addon is missing or older than a native source. */
export function isNativeStale(kind = 'release') {
  const addon = addonPath(kind);
  if (!existsSync(addon)) return true;
  const built = statSync(addon).mtimeMs;
  const folder = join(root, 'native');
  return readdirSync(folder, { recursive: true }).some((name) => statSync(join(folder, name)).mtimeMs > built);
}

/** Builds a kind, showing CMake's output; returns its exit code. */
export function buildNative(kind = 'release') {
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const options = ['compile', '--directory', 'native', '--out', join('build', kind), '--log-level', 'warn'];
  // Make builds with one process unless it is told otherwise.
  const env = { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env };
  const run = { cwd: root, env, stdio: 'inherit' };
  return spawnSync(process.execPath, [cmakeJs, ...options, ...kinds[kind]], run).status ?? 1;
}

/** The compiler's sanitizer library, which has to be loaded before Node. */
export function runtimeOf(kind) {
  const name = sanitizerRuntimes[kind];
  const found = spawnSync(process.env.CXX ?? 'c++', [`-print-file-name=${name}`], { encoding: 'utf8' });
  return found.status === 0 ? found.stdout.trim() : name;
}

function main(flags) {
  // What npm runs when the package is installed.
  const prebuilt = process.env.npm_lifecycle_event === 'install' ? findPrebuilt() : null;
  if (prebuilt !== null) {
    console.log(`The engine was built beforehand: ${prebuilt}`);
    return 0;
  }
  const kind = flags.length === 0 ? 'release' : (flags[0] ?? '').replace(/^--/, '');
  if (flags.length > 1 || !Object.hasOwn(kinds, kind)) {
    console.error('usage: node tools/build-native.mjs [--debug | --asan | --tsan]');
    return 2;
  }
  const status = buildNative(kind);
  if (status !== 0) return status;
  console.log(relative(process.cwd(), addonPath(kind)));
  if (kind === 'release') return 0;
  const preload = kind in sanitizerRuntimes ? `LD_PRELOAD=${runtimeOf(kind)} ` : '';
  const quiet = kind === 'asan' ? 'ASAN_OPTIONS=detect_leaks=0 ' : '';
  console.log(`To use it: ${preload}${quiet}NIBBLE_ADDON_BUILD=${kind} node …`);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(main(process.argv.slice(2)));
