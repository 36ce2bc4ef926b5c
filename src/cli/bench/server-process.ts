/** Starts servers as processes of their own on a free port, as a user would. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { NibbleError } from '../../errors.js';
import { programFile } from '../output.js';

/** Loading a large model from a slow disk takes this long at most, ms. */
const READY_MS_MAX = 300_000;
/** How long a server may take to end after SIGTERM, ms. */
const STOP_MS_MAX = 30_000;

export type ServerProcess = {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly pid: number;
  /** The line that said so. */
  readonly readyLine: string;
  stop(): Promise<void>;
};

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await exited;
  clearTimeout(timer);
}

/** Waits for the line that says where it listens. Throws `bench_failed` when the server ends or isn't ready in time. */
async function whenReady(child: ChildProcess): Promise<Omit<ServerProcess, 'stop'>> {
  const { pid } = child;
  if (child.stdout === null || pid === undefined)
    throw new NibbleError('bench_failed', { message: 'the server could not be started' });
  const lines = createInterface({ input: child.stdout });
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS_MAX);
  try {
    for await (const line of lines) {
      const url = /ready on (http:\/\/\S+)/.exec(line)?.[1];
      if (url !== undefined) return { url, pid, readyLine: line };
    }
  } finally {
    clearTimeout(timer);
    child.stdout.resume(); // what it may still write must not fill the pipe
  }
  throw new NibbleError('bench_failed', { message: 'the server ended before it was ready (see above)' });
}

/** Starts a program that prints `ready on URL` on its standard output when it serves. */
export async function startProgram(command: string, args: readonly string[]): Promise<ServerProcess> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.on('error', () => undefined); // no such program: its output ends at once
  try {
    return { ...(await whenReady(child)), stop: () => stop(child) };
  } catch (error) {
    await stop(child);
    throw error;
  }
}

/** `settings` are flags of `nibble serve`. */
export function startServer(settings: readonly string[]): Promise<ServerProcess> {
  const serve = [programFile, 'serve', '--host', '127.0.0.1', '--port', '0', '--log-level', 'warn', ...settings];
  return startProgram(process.execPath, [...process.execArgv, ...serve]);
}
