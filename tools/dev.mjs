// The development loop: builds what is stale, serves from the sources, restarts on every change of TypeScript or C++,
// and shows type errors as they come.
// Usage: node tools/dev.mjs [--tiny] [options of "nibble serve"]
//   --tiny  serve a generated model of random weights: instant start, no download
import { spawn } from 'node:child_process';
import { mkdirSync, watch } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tsImport } from 'tsx/esm/api';
import { addonPath, buildNative, isNativeStale } from './build-native.mjs';
import { buildPage } from './build-page.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);
/** Editors write a file in several steps; one build is enough for them. */
const settleMs = 200;

async function tinyModel() {
  const folder = join(root, 'build', 'dev');
  mkdirSync(folder, { recursive: true });
  const { writeTinyModel } = await tsImport('../test/support/gguf-fixtures.ts', import.meta.url);
  return writeTinyModel(join(folder, 'tiny.gguf'));
}

function start(args) {
  // Running requests shouldn't delay a restart for long.
  const env = { NIBBLE_DRAIN_SECONDS: '1', ...process.env };
  return spawn(process.execPath, args, { cwd: root, env, stdio: 'inherit' });
}

/** Rebuilds the addon when a native source changes; the new file makes the server restart. */
function watchNative() {
  let timer;
  watch(join(root, 'native'), { recursive: true }, () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (isNativeStale() && buildNative() !== 0) console.error('nibble dev: the native build failed');
    }, settleMs);
  });
}

async function main(args) {
  const isTiny = args.includes('--tiny');
  const options = args.filter((argument) => argument !== '--tiny');
  if (isTiny) options.push('--model', await tinyModel());
  if (isNativeStale() && buildNative() !== 0) return process.exit(1);
  await buildPage();
  const watchOptions = ['watch', '--clear-screen=false', '--include', relative(root, addonPath('release'))];
  const children = [
    start([require.resolve('tsx/cli'), ...watchOptions, 'src/cli/main.ts', 'serve', ...options]),
    start([join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '--watch', '--preserveWatchOutput']),
  ];
  watchNative();
  const stop = () => {
    for (const child of children) child.kill('SIGTERM');
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  await Promise.all(children.map((child) => new Promise((resolve) => child.on('exit', resolve))));
  process.exit(0);
}

await main(process.argv.slice(2));
