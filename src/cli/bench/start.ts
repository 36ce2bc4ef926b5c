/** `nibble bench start`: how soon a server answers, with and without packed weights on disk, and its memory then. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import { NibbleError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { SETTLE_MS } from '../heap.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { createProgress } from './progress.js';
import { startServer } from './server-process.js';
import { rounded, type Spread, spread } from './statistics.js';
import { formatTable } from './table.js';

type StartFlags = Readonly<Record<string, unknown>> & { readonly rounds: number; readonly json?: boolean };

/** One start: native load, process start to `GET /health` 200; resident memory after `SETTLED_MS` (null: unknown). */
type Start = { readonly loadMs: number; readonly readyMs: number; readonly residentMiB: number | null };

/** Time for storing packed weights after a start, ms. */
const STORED_MS_MAX = 120_000;
/** Room for the packed weights of any model that fits into memory, MB; the folder is removed afterwards. */
const PACK_CACHE_MB = 1_000_000;
const POLL_MS = 50;
/** When a server has given back what only its start needed, ms. */
const SETTLED_MS = SETTLE_MS + 300;

/** Resident memory of a process, MiB; null on systems without /proc. */
async function residentMiB(pid: number): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  return kiB === undefined ? null : Number(kiB) / 1024;
}

/** Resident memory of a Node process that has done nothing, MiB. */
async function bareNodeMiB(): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', 'console.log(process.memoryUsage().rss)']);
  return Number(stdout) / 2 ** 20;
}

/** `whenReady` runs before the server is stopped. */
async function measureStart(settings: readonly string[], whenReady = async () => {}): Promise<Start> {
  const begin = performance.now();
  const server = await startServer(settings);
  try {
    const { status } = await fetch(`${server.url}/health`);
    const readyMs = performance.now() - begin;
    const loadMs = Number(/loaded in (\d+) ms/.exec(server.readyLine)?.[1] ?? Number.NaN);
    if (status !== 200) throw new NibbleError('bench_failed', { message: `/health answered ${status}` });
    await sleep(SETTLED_MS);
    const resident = await residentMiB(server.pid);
    await whenReady();
    return { loadMs, readyMs, residentMiB: resident };
  } finally {
    await server.stop();
  }
}

/** Waits until the server has stored its packed weights. Throws `bench_failed` when it doesn't. */
async function untilStored(home: string): Promise<void> {
  const deadline = performance.now() + STORED_MS_MAX;
  while (performance.now() < deadline) {
    const names = await readdir(join(home, 'packs')).catch(() => []);
    if (names.some((name) => name.endsWith('.pack'))) return;
    await sleep(POLL_MS);
  }
  const message = 'the packed weights were not stored; a model file that was just written needs two seconds of age';
  throw new NibbleError('bench_failed', { message });
}

async function measureRounds(settings: readonly string[], home: string, rounds: number) {
  const progress = createProgress();
  progress.start('start', rounds + 1);
  const cold: Start[] = [];
  const warm: Start[] = [];
  // Said aloud: the user's own settings may keep nothing.
  const storing = [...settings, '--home', home, '--pack-cache-mb', String(PACK_CACHE_MB)];
  try {
    // The first start reads the model from its disk and stores the packed weights; it isn't counted.
    await measureStart(storing, () => untilStored(home));
    for (let round = 0; round < rounds; round += 1) {
      cold.push(await measureStart([...settings, '--home', home, '--pack-cache-mb', '0']));
      warm.push(await measureStart(storing));
      progress.update(round + 2);
    }
  } finally {
    progress.stop();
  }
  return { cold, warm };
}

function summary(starts: readonly Start[]) {
  const resident = starts.flatMap((start) => start.residentMiB ?? []);
  return {
    loadMs: rounded(spread(starts.map(({ loadMs }) => loadMs))),
    readyMs: rounded(spread(starts.map(({ readyMs }) => readyMs))),
    residentMiB: resident.length === 0 ? null : rounded(spread(resident)),
  };
}

const cell = (value: Spread | null): string =>
  value === null ? '–' : `${Math.round(value.median)} (${Math.round(value.min)}–${Math.round(value.max)})`;

async function start(flags: StartFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const { resolveModel } = await import('../../model/sources/resolve.js');
  const path = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const threads = config.threads ?? loadAddon().cpuInfo().defaultThreads;
  const settings = ['--model', path, '--threads', String(threads), '--activations', config.activations ?? 'auto'];
  const home = await mkdtemp(join(tmpdir(), 'nibble-start-'));
  try {
    const { cold, warm } = await measureRounds(settings, home, flags.rounds);
    const result = { cold: summary(cold), warm: summary(warm) };
    if (flags.json === true) {
      const machine = machineOf(loadAddon().cpuInfo(), { threads });
      const model = basename(path, extname(path));
      return await printJsonResult(
        { machine, model },
        { rounds: flags.rounds, bareNodeMiB: Math.round(await bareNodeMiB()), ...result },
      );
    }
    const rows = (['cold', 'warm'] as const).map((name) => {
      const { loadMs, readyMs, residentMiB: resident } = result[name];
      return [name === 'cold' ? 'packed' : 'from disk', cell(loadMs), cell(readyMs), cell(resident)];
    });
    await writeStdout(formatTable(['weights', 'load, ms', 'start to /health 200, ms', 'resident, MiB'], rows));
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

export function registerStart(bench: Command): void {
  const command = bench
    .command('start')
    .description('Measure how soon a server answers, with and without packed weights on disk.')
    .option('--rounds <count>', 'starts of each kind; medians are reported', integerIn(3, 100), 5)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(start);
}
