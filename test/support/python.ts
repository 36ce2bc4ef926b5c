/** Python environments with the libraries that tests compare against, made once and kept in the user's cache. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const folderOfScripts = fileURLToPath(new URL('../../tools/reference/', import.meta.url));

/** Sets of libraries by their files in tools/reference; each has an environment of its own, made when it is needed. */
export type Libraries =
  | 'requirements'
  | 'requirements-clients'
  | 'requirements-harness'
  | 'requirements-train'
  | 'requirements-deploy'
  | 'requirements-router';

/** $NIBBLE_HOME/reference-venv, else nibble/reference-venv in the XDG cache. */
function cacheFolder(): string {
  const home = process.env.NIBBLE_HOME;
  if (home !== undefined && home !== '') return join(home, 'reference-venv');
  const cache = process.env.XDG_CACHE_HOME;
  return join(cache !== undefined && cache !== '' ? cache : join(homedir(), '.cache'), 'nibble', 'reference-venv');
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** PyTorch is too large to be installed for a test: Debian's interpreter has it from the package `python3-torch`. */
async function pythonWithTorch(): Promise<string> {
  const python = '/usr/bin/python3';
  try {
    await run(python, ['-c', 'import torch']);
  } catch (error) {
    throw new Error(`${python} has no PyTorch: install the Debian package python3-torch`, { cause: error });
  }
  return python;
}

/**
 * Path of a Python interpreter that has these libraries installed. The folder is named after the content of their
 * file and appears under its name only when complete, so test files may ask for it at the same time.
 */
export async function ensurePythonEnv(libraries: Libraries = 'requirements'): Promise<string> {
  const base = libraries === 'requirements-train' ? await pythonWithTorch() : 'python3';
  const requirements = join(folderOfScripts, `${libraries}.txt`);
  const wanted = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
    .slice(0, 16);
  const folder = join(cacheFolder(), wanted);
  const python = join(folder, 'bin', 'python');
  if (await exists(python)) return python;
  await mkdir(cacheFolder(), { recursive: true });
  const draft = await mkdtemp(join(cacheFolder(), 'draft-'));
  try {
    await run(base, ['-m', 'venv', ...(base === 'python3' ? [] : ['--system-site-packages']), draft]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', '-r', requirements];
    await run(join(draft, 'bin', 'python'), pip);
    await rename(draft, folder).catch(async (error: unknown) => {
      if (!(await exists(python))) throw error; // else another test file was faster
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return python;
}

/** Runs a script of tools/reference; rejects with its standard error if it fails. */
export async function runReference(
  script: string,
  args: readonly string[],
  libraries: Libraries = 'requirements',
): Promise<string> {
  const python = await ensurePythonEnv(libraries);
  const { stdout } = await run(python, [join(folderOfScripts, script), ...args], { maxBuffer: 1 << 28 });
  return stdout;
}
