/**
 * Every shell block of the pages is right: it is run, with a small generated model, or, where its tags say that it
 * needs what a test can't have, read: its syntax, its `nibble` commands and options, and the files that it names.
 *
 * Tags stand behind the language (```sh nightly):
 * - none: run on every test, with the other blocks of its page, in their order and in one shell;
 * - `nightly`: so too, but only with NIBBLE_NIGHTLY=1, because it takes seconds;
 * - `needs=THING`: read only.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { defaultModelPath } from '../support/default-model.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { readSource, root, trackedFiles } from '../support/imports.js';
import { blocksOf } from '../support/markdown.js';
import { mistakeIn, usesOfNibble } from '../support/nibble-commands.js';
import { prepareFolder, typeBlocks } from '../support/terminal.js';

const isNightly = process.env.NIBBLE_NIGHTLY === '1';

/** Why a block can't be run by a test. */
const needs: Readonly<Record<string, string>> = {
  docker: 'an engine for containers',
  fleet: 'machines to serve on',
  idle: 'minutes of an idle machine, or a debugger',
  install: 'it installs Nibble itself: npm run check:install',
  network: 'something else than a package registry, or a large download',
  peers: 'other engines, built from source or fetched',
  scratch: 'files that other tools made',
  tests: 'it runs the tests',
  torch: 'PyTorch, and hours',
};

const pages = trackedFiles('*.md');
const blocks = pages.flatMap((page) => blocksOf(readSource(page), 'sh').map((block) => ({ page, ...block })));
const need = (tags: readonly string[]): string | undefined =>
  tags.find((tag) => tag.startsWith('needs='))?.slice('needs='.length);

test('uses of nibble are found in blocks, and mistakes in them', () => {
  const text =
    'A=1 npx nibble serve --port 1 \\\n  --nice 2 # nibble no\n./x/nibble top | nibble bench peers\nA=$(nibble pull)\n';
  const found = usesOfNibble(text).map((words) => words.join(' '));
  assert.deepEqual(found, ['serve --port 1 --nice 2', 'top', 'bench peers', 'pull']);
  assert.equal(mistakeIn(['serve', '--no-such-thing', '3']), 'serve has no --no-such-thing');
  assert.equal(mistakeIn(['bench', 'nothing']), 'no command bench nothing');
  assert.equal(mistakeIn(['top', '--once']), null);
});

test('every block is a shell text, of commands, options and files that exist', () => {
  assert.ok(blocks.length > 50);
  for (const { page, text, tags } of blocks) {
    const where = `${page}: ${text}`;
    const { status, stderr } = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
    assert.deepEqual([status, stderr], [0, ''], where);
    for (const tag of tags) assert.ok(tag === 'nightly' || (need([tag]) ?? '') in needs, `${where}: ${tag}`);
    for (const words of usesOfNibble(text)) assert.equal(mistakeIn(words), null, where);
    for (const [path] of text.matchAll(/(?<=^|\s)(?:docker|tools|test|bench|src)\/[\w./-]+/g)) {
      assert.ok(existsSync(join(root, path)), `${where}: ${path}`);
    }
  }
});

const folder = mkdtempSync(join(tmpdir(), 'nibble-docs-'));
const path = (name: string) => join(folder, name);
after(() => rmSync(folder, { recursive: true }));
before(async () => {
  const size = { hidden: 256, ffn: 512, heads: 4, kvHeads: 2, context: 4096 };
  await writeTinyModel(path('tiny.gguf'), { ...size, seed: 11 });
  await writeTinyModel(path('tiny-w4.gguf'), { ...size, seed: 12 });
  writeFileSync(path('some.txt'), readFileSync(join(root, 'LICENSE')));
  writeFileSync(path('some.jsonl'), '{"prompt": "Q: What is 2 + 3?\\nA:", "max_tokens": 4}\n{"prompt": "Hello"}\n');
});

/** The files that pages speak of, and which of ours they are. */
const names = {
  'tiny.gguf': ['model.gguf', 'MODEL.gguf', 'small.gguf', 'large.gguf'],
  'tiny-w4.gguf': ['small-w4.gguf'],
  'some.txt': 'text other-text TEXT slice wiki eval own-text other calibration CALIBRATION first-64-KiB'
    .split(' ')
    .flatMap((name) => [name, `${name}.txt`]),
  'some.jsonl': ['prompts.jsonl'],
};

/** A folder of its own for a page, so that pages don't meet each other's files. */
function folderOf(page: string): string {
  const own = path(page.replaceAll('/', '-'));
  mkdirSync(own);
  const links = Object.entries(names).flatMap(([file, all]) => all.map((name) => [name, path(file)]));
  prepareFolder(own, Object.fromEntries(links));
  return own;
}

for (const page of pages) {
  const own = blocks.filter((block) => block.page === page && need(block.tags) === undefined);
  const texts = own.filter(({ tags }) => isNightly || !tags.includes('nightly')).map(({ text }) => text);
  if (texts.length === 0) continue;
  // Pages of the API speak of a server that runs already.
  const asks = texts.findIndex((text) => text.includes('127.0.0.1:8080'));
  const serves = texts.findIndex((text) => /nibble serve|npm start/.test(text));
  if (asks >= 0 && (serves < 0 || serves > asks)) texts.unshift('nibble serve');
  test(`the blocks of ${page} run`, async () => {
    // The tutorial is what people meet first: by night on the model that they meet.
    const isReal = isNightly && page === 'docs/tutorial.md';
    const model = isReal ? await defaultModelPath() : path('tiny.gguf');
    const { ok, output } = await typeBlocks(folderOf(page), texts, {
      NIBBLE_MODEL: model,
      NIBBLE_HOME: path('home'),
    });
    assert.ok(ok, output.slice(-3000));
  });
}
