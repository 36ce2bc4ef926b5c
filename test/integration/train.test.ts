/** The tests of tools/train: PyTorch on a model of two small layers; and what it exports, in the engine. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import { logitsOf } from '../support/native-logits.js';
import { ensurePythonEnv } from '../support/python.js';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('../../tools/train', import.meta.url));

type Simulated = { readonly tokens: number[]; readonly f32: number[][]; readonly a4kv4: number[][] };

/** Mean distance of the logits of all positions, in units of their root mean square. */
function distance(actual: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): number {
  let [difference, square, count] = [0, 0, 0];
  for (const [position, row] of expected.entries()) {
    for (const [id, value] of Array.from(row).entries()) {
      difference += Math.abs((actual[position]?.[id] ?? Number.NaN) - value);
      square += value * value;
      count += 1;
    }
  }
  return difference / count / Math.sqrt(square / count);
}

test('training, its simulated formats and what it exports', async () => {
  const python = await ensurePythonEnv('requirements-train');
  const env = { ...process.env, OMP_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' };
  const { stdout } = await run(python, ['-m', 'pytest', '-q', '-p', 'no:cacheprovider'], { cwd: folder, env }).catch(
    (error: unknown) => error as { readonly stdout: string },
  );
  const passed = Number(/^(\d+) passed in/m.exec(stdout)?.[1] ?? 0);
  assert.ok(passed >= 30, stdout);
});

test('the engine computes what training simulated', async () => {
  const python = await ensurePythonEnv('requirements-train');
  const scratch = await mkdtemp(join(tmpdir(), 'nibble-train-'));
  try {
    const student = join(scratch, 'student.gguf');
    await run(python, ['-B', join(folder, 'tests/engine_toy.py'), student, join(scratch, 'logits.json')]);
    const simulated = JSON.parse(await readFile(join(scratch, 'logits.json'), 'utf8')) as Simulated;
    const positions = simulated.tokens.map((_, i) => i);
    const computed = async (options: KitOptions) => {
      const kit = await NativeKit.open(student, options);
      const rows = await logitsOf(kit, simulated.tokens, [positions.length], positions);
      await kit.close();
      return positions.map((position) => rows.get(position) ?? []);
    };
    const exact = distance(await computed({ activations: 'f32' }), simulated.f32);
    assert.ok(exact < 1e-3, `${exact}`); // keys and values are kept in f16, 5e-4 apart
    // A sum in another order can move a value across the border of two codes: rare, but not nothing.
    const low = await computed({ activations: null, kv: 'kv4' });
    const rounded = distance(low, simulated.a4kv4);
    const cost = distance(simulated.f32, simulated.a4kv4);
    assert.ok(rounded < 0.2 * cost, `${rounded}, while four bits change ${cost}`);
  } finally {
    await rm(scratch, { recursive: true });
  }
});
