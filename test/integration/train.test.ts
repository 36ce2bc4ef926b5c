/** The tests of tools/train: PyTorch on a model of two small layers. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensurePythonEnv } from '../support/python.js';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('../../tools/train', import.meta.url));

test('training, its simulated formats and what it exports', async () => {
  const python = await ensurePythonEnv('requirements-train');
  const env = { ...process.env, OMP_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' };
  const { stdout } = await run(python, ['-m', 'pytest', '-q', '-p', 'no:cacheprovider'], { cwd: folder, env }).catch(
    (error: unknown) => error as { readonly stdout: string },
  );
  const passed = Number(/^(\d+) passed in/m.exec(stdout)?.[1] ?? 0);
  assert.ok(passed >= 30, stdout);
});
