/** What the program is made of, from the lock file: licences, and where packages come from. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSource } from '../support/imports.js';

type Locked = { readonly dev?: boolean; readonly license?: string; readonly integrity?: string };
const { packages } = JSON.parse(readSource('package-lock.json')) as {
  readonly packages: Readonly<Record<string, Locked>>;
};
const shipped = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);

/** Licences that ask for nothing but to be named. */
const permissive = /^(MIT|ISC|Apache-2\.0|BSD-2-Clause|BSD-3-Clause|BlueOak-1\.0\.0|Unlicense|0BSD|Zlib)$/;

/** SPDX: of alternatives one must do, of parts all must. */
const isPermissive = (license: string): boolean =>
  license
    .replace(/^\((.*)\)$/, '$1')
    .split(' OR ')
    .some((choice) => choice.split(' AND ').every((part) => permissive.test(part)));

test('everything that is shipped has a licence that lets it be', () => {
  assert.ok(isPermissive('(GPL-3.0-only OR MIT)'));
  assert.ok(!isPermissive('(GPL-3.0-only AND MIT)'));
  assert.ok(shipped.length > 50);
  const others = shipped.filter(([, { license }]) => license === undefined || !isPermissive(license));
  assert.deepEqual(
    others.map(([path, { license }]) => `${path}: ${license}`),
    [],
  );
});

test('everything that is shipped is known by its checksum', () => {
  const unknown = shipped.filter(([, { integrity }]) => integrity === undefined);
  assert.deepEqual(
    unknown.map(([path]) => path),
    [],
  );
});

test('what a release packs is what an installed program reads', () => {
  const manifest = JSON.parse(readSource('package.json')) as {
    readonly files: readonly string[];
    readonly scripts: Readonly<Record<string, string>>;
  };
  // Scripts that npm runs on the user's machine, and what these import.
  for (const name of ['preinstall', 'install']) {
    const script = /^node (\S+)/.exec(manifest.scripts[name] ?? '')?.[1] ?? '';
    const imported = [...readSource(script).matchAll(/from '\.\/([\w-]+\.mjs)'/g)].map(([, file]) => `tools/${file}`);
    for (const file of [script, ...imported]) assert.ok(manifest.files.includes(file), file);
  }
  assert.ok(manifest.files.includes('dist'));
  assert.ok(manifest.files.includes('native'));
});
