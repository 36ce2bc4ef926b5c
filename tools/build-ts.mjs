// Bundles src and what it needs of node_modules into dist/cli (docs/decisions/0016-bundled-program.md), and the page
// into dist/page.html. All files of the program lie in one folder, two levels below the root as their sources do, so
// that paths relative to `import.meta.url` stay right.
// Usage: node tools/build-ts.mjs
import { chmodSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { buildPage } from './build-page.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The program, and what it starts as a process or thread of its own. */
const entries = [
  'src/cli/main.ts',
  'src/cli/bench/peer-node.ts',
  'src/cli/bench/workloads/stream-reader.ts',
  'src/model/tokenizer/worker-main.ts',
  'src/model/chat-template/template-main.ts',
  'src/grammar/grammar-main.ts',
  'src/metering/ledger/ledger-main.ts',
];

/** A file that is started by its name has to be an entry: the bundle would lack it, and only notice when it is used. */
function checkStarted() {
  const known = entries.map((entry) => basename(entry, '.ts'));
  const sources = readdirSync(join(root, 'src'), { recursive: true }).filter((name) => name.endsWith('.ts'));
  for (const source of sources) {
    const text = readFileSync(join(root, 'src', source), 'utf8');
    for (const [, name] of text.matchAll(/(?:new URL\(|startThread\(import\.meta\.url,)\s*['"`]\.\/([\w-]+)/g)) {
      if (!known.includes(name)) throw new Error(`src/${source} starts ${name}: add it to the entries`);
    }
  }
}

checkStarted();
rmSync(join(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: entries.map((entry) => ({ in: entry, out: basename(entry, '.ts') })),
  outdir: 'dist/cli',
  bundle: true,
  // Commands load what they need by import(); that stays apart, in files of its own.
  splitting: true,
  format: 'esm',
  platform: 'node',
  // It is a binary, and looks for it beside itself.
  external: ['libsql'],
  target: 'node20',
  logLevel: 'warning',
  // CommonJS packages call require for Node's own modules.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
});
chmodSync(join(root, 'dist/cli/main.js'), 0o755);
await buildPage();
