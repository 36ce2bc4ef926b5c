// Makes dist/page.html of src/ui: one file without anything to fetch beside it.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Bundles a source of src/ui as browsers of the last three years read it; returns the text. */
async function bundle(name) {
  const { outputFiles } = await build({
    entryPoints: [join(root, 'src/ui', name)],
    bundle: true,
    minify: true,
    write: false,
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    logLevel: 'warning',
  });
  return outputFiles[0].text.trim();
}

export async function buildPage() {
  const [script, style] = await Promise.all([bundle('app.tsx'), bundle('style.css')]);
  const frame = readFileSync(join(root, 'src/ui/index.html'), 'utf8');
  // Functions, since a replacing text would have its dollar signs read.
  const page = frame
    .replace('<style></style>', () => `<style>${style}</style>`)
    .replace('<script></script>', () => `<script>${script}</script>`);
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(join(root, 'dist/page.html'), page);
}
