import { execFile } from 'node:child_process';
import { basename, isAbsolute } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../../errors.js';
import { programFile } from '../../output.js';
import { isObject } from './fields.js';
import type { Outcome, Section } from './types.js';

/** No section may hang: the slowest, with weights to quantize, takes this long on two slow cores. */
const SECTION_MS_MAX = 40 * 60_000;
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;

/** A command as a user would write it in a shell; of paths their names, as folders differ from machine to machine. */
export function shellWords(args: readonly string[]): string {
  const names = args.map((arg) => (isAbsolute(arg) ? basename(arg) : arg));
  return ['nibble', ...names.map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg}'`))].join(' ');
}

export function commandLine({ args, isa }: Section): string {
  return `${isa === undefined ? '' : `NIBBLE_ISA=${isa} `}${shellWords(args)}`;
}

/** The last line that a failed command wrote: its coded error. */
function reasonOf(error: unknown): string {
  const stderr = isObject(error) && typeof error.stderr === 'string' ? error.stderr : '';
  const line = stderr.trimEnd().split('\n').at(-1) ?? '';
  return line.replace(/^nibble: /, '') || messageOf(error);
}

/**
 * Runs one command in a process of its own, so that no measurement meets what another left behind. One that fails is
 * an outcome, too: peers can't be fetched everywhere.
 */
export async function runSection(section: Section, settings: readonly string[]): Promise<Outcome> {
  const args = [...section.args, ...(section.takesSettings ? settings : []), '--json'];
  const env = section.isa === undefined ? process.env : { ...process.env, NIBBLE_ISA: section.isa };
  const begin = performance.now();
  const seconds = () => Math.round((performance.now() - begin) / 1e3);
  const outcome = { section, command: commandLine(section) };
  try {
    const command = [...process.execArgv, programFile, ...args];
    const options = { env, timeout: SECTION_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
    const { stdout } = await promisify(execFile)(process.execPath, command, options);
    const result: unknown = JSON.parse(stdout);
    if (!isObject(result)) throw new Error('the command printed no JSON object');
    return { ...outcome, seconds: seconds(), result, failure: null };
  } catch (error) {
    return { ...outcome, seconds: seconds(), result: null, failure: reasonOf(error) };
  }
}
