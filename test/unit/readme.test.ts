/** What README and the other pages promise about the repository is there: files, scripts, commands. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { readSource, root, trackedFiles } from '../support/imports.js';
import { codeBlocks, links } from '../support/markdown.js';

const pages = trackedFiles('*.md');
const manifest = JSON.parse(readSource('package.json')) as { readonly scripts: Readonly<Record<string, string>> };

test('blocks and links are found', () => {
  const page = 'See [a](b.md#c).\n\n```sh\nnpm test\n[no](x.md)\n```\n\n`[no](y.md)` [d](https://e.f)\n';
  assert.deepEqual(codeBlocks(page, 'sh'), ['npm test\n[no](x.md)\n']);
  assert.deepEqual(codeBlocks(page, 'js'), []);
  assert.deepEqual(links(page), ['b.md#c', 'https://e.f']);
});

test('every link to a file leads somewhere', () => {
  assert.ok(pages.includes('README.md'));
  for (const page of pages) {
    for (const link of links(readSource(page)).filter((target) => !/^(https?:|#)/.test(target))) {
      const target = normalize(join(dirname(page), link.replace(/#.*$/, '')));
      assert.ok(existsSync(join(root, target)), `${page}: ${link}`);
    }
  }
});

test('files and folders that ARCHITECTURE.md names exist', () => {
  const named = [...readSource('ARCHITECTURE.md').matchAll(/`((?:src|native|test|tools|docs)\/[\w./-]+)`/g)];
  assert.ok(named.length > 10);
  for (const [, name] of named) assert.ok(existsSync(join(root, name ?? '')), name);
});

test('every npm script that a page names exists', () => {
  const names = pages.flatMap((page) =>
    [...readSource(page).matchAll(/npm run ([\w:]+)/g)].map(([, name]) => `${page}: ${name}`),
  );
  assert.ok(names.length > 5);
  assert.deepEqual(
    names.filter((entry) => !((entry.split(': ')[1] ?? '') in manifest.scripts)),
    [],
  );
});

test('the documentation index lists every page', () => {
  const listed = links(readSource('docs/README.md')).map((link) => link.split('/')[0]);
  const present = readdirSync(join(root, 'docs')).filter((name) => name !== 'README.md');
  assert.deepEqual(
    present.filter((name) => !listed.includes(name)),
    [],
  );
});

test("continuous integration ends with the README's test command", () => {
  const test = codeBlocks(readSource('README.md').split('\n## Test\n')[1] ?? '', 'sh')[0]?.trim();
  assert.equal(test, 'npm test');
  assert.equal(readSource('.ci/run').trimEnd().split('\n').at(-1), test);
});
