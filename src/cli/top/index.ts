/** `nibble top`: what a server is doing, once a second, from its metrics. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { configInvalid, messageOf, NibbleError } from '../../errors.js';
import { type Load, loadBetween } from '../../ui/load.js';
import { parseMetrics, type Snapshot } from '../../ui/metrics-text.js';
import { writeStdout } from '../output.js';
import { renderTop } from './render.js';

type TopFlags = { readonly url: string; readonly once?: boolean };

const periodMs = 1000;
/** Latencies and shares are those of this many last scrapes: single seconds are too few to tell. */
const windowScrapes = 15;
/** As many as the widest terminal shows. */
const loadsKept = 500;

/** The other screen of the terminal, as editors use it, and back; the cursor home, and what is below it cleared. */
const screen = { begin: '\x1b[?1049h\x1b[?25l', end: '\x1b[?25h\x1b[?1049l', home: '\x1b[H', clear: '\x1b[J' } as const;

/** Throws `server_unreachable`. */
async function scrape(url: string): Promise<Snapshot> {
  const failed = (message: string, cause?: unknown) =>
    new NibbleError('server_unreachable', { url, message }, { cause });
  try {
    const response = await fetch(new URL('/metrics', url), { signal: AbortSignal.timeout(5000) });
    const text = await response.text();
    if (!response.ok) throw failed(`/metrics answered ${response.status}`);
    return parseMetrics(text, performance.now());
  } catch (error) {
    if (error instanceof NibbleError) throw error;
    throw failed(messageOf(error instanceof Error ? (error.cause ?? error) : error), error);
  }
}

/** Two scrapes a second apart, for scripts and for terminals that can't be drawn on. */
async function once(url: string): Promise<void> {
  const before = await scrape(url);
  await sleep(periodMs);
  const load = loadBetween(before, await scrape(url));
  await writeStdout(renderTop(url, [load], load, 200));
}

/** Draws until Ctrl+C, or until the server goes. */
async function follow(url: string): Promise<void> {
  const snapshots = [await scrape(url)];
  const loads: Load[] = [];
  const leave = () => process.stdout.write(screen.end);
  process.on('exit', leave);
  process.on('SIGINT', () => process.exit(0));
  process.on('SIGTERM', () => process.exit(0));
  process.stdout.write(screen.begin);
  for (;;) {
    await sleep(periodMs);
    const now = await scrape(url);
    const [first = now, last = now] = [snapshots[0], snapshots.at(-1)];
    loads.push(loadBetween(last, now));
    if (loads.length > loadsKept) loads.shift();
    snapshots.push(now);
    if (snapshots.length > windowScrapes) snapshots.shift();
    const columns = process.stdout.columns || 80;
    const text = renderTop(url, loads, loadBetween(first, now), columns);
    await writeStdout(`${screen.home}${text.replaceAll('\n', '\x1b[K\n')}${screen.clear}`);
  }
}

async function top({ url, once: isOnce }: TopFlags): Promise<void> {
  if (!URL.canParse(url)) throw configInvalid('url', 'must be a URL');
  await (isOnce === true || !process.stdout.isTTY ? once(url) : follow(url));
}

export function registerTop(program: Command): void {
  program
    .command('top')
    .description('Show what a server is doing, once a second, from its /metrics.')
    .option('--url <url>', 'address of the server', 'http://127.0.0.1:8080')
    .option('--once', 'print one second and end, as where the output is no terminal')
    .action(top);
}
