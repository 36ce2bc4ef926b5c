import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { open, unlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NibbleError, reasonOf } from '../errors.js';
import type { CpuInfo, IsaLevel } from '../native/contract.js';

/** The package's folder: two levels up, from src/cli and from dist/cli alike. */
export const packageRoot = fileURLToPath(new URL('../..', import.meta.url));

/** The program's own file, beside this one: `main.ts` of the sources, `main.js` of the bundle. */
export const programFile = fileURLToPath(
  new URL(`./main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

/** Where a measurement was taken. */
export type Machine = {
  readonly cpu: string;
  readonly isa: IsaLevel;
  readonly threads: number;
  /** Physical cores that the process may use. */
  readonly cores: number;
};

/** The `machine` of a result; `isa` and `threads` are those that really ran, where they differ from the default. */
export function machineOf(cpu: CpuInfo, ran: { readonly isa?: IsaLevel; readonly threads?: number } = {}): Machine {
  return {
    cpu: cpu.brand,
    isa: ran.isa ?? cpu.level,
    threads: ran.threads ?? cpu.defaultThreads,
    cores: cpu.physicalCores,
  };
}

/** The version in package.json. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(`${packageRoot}/package.json`, 'utf8'));
  const version = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : null;
  return typeof version === 'string' ? version : 'unknown';
}

/** The page that the server has at `/`; null where it isn't built, as in a fresh checkout. */
export function readPage(): string | null {
  const path = `${packageRoot}/dist/page.html`;
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

/** The commit of the checkout that this program runs from; the package version where there is no checkout or git. */
export async function sourceCommit(): Promise<string> {
  if (!existsSync(`${packageRoot}/.git`)) return packageVersion();
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', packageRoot, 'rev-parse', 'HEAD']);
    return stdout.trim();
  } catch {
    return packageVersion();
  }
}

const unwritable = (path: string, cause: unknown): NibbleError =>
  new NibbleError('output_unwritable', { path, message: reasonOf(cause) }, { param: 'out', cause });

/**
 * Asks before the work whether its report can be written there: an unwritable one would lose it. A report of earlier
 * work stays until then. Throws `output_unwritable`.
 */
export async function checkWritable(path: string): Promise<void> {
  const isNew = !existsSync(path);
  try {
    await (await open(path, 'a')).close();
    if (isNew) await unlink(path);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Writes to stdout and resolves when the text has been handed over, so that an exit right after loses nothing. */
export function writeStdout(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}

/** Throws `output_unwritable`. */
export async function writeReport(path: string, text: string): Promise<void> {
  await writeFile(path, text).catch((cause: unknown) => {
    throw unwritable(path, cause);
  });
}

/**
 * Prints the result of a `--json` command: one JSON object on one line, the only thing on stdout. `machine`, `model`
 * and `commit` stand beside the command's own fields, so that every number says where it comes from.
 */
export async function printJsonResult(
  context: { readonly machine: Machine; readonly model: string | null },
  result: Readonly<Record<string, unknown>>,
): Promise<void> {
  const commit = await sourceCommit();
  await writeStdout(`${JSON.stringify({ ...result, machine: context.machine, model: context.model, commit })}\n`);
}
