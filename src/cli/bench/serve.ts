/** `nibble bench serve`: what clients of a server get, at several concurrencies. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import { NibbleError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn, integersIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { createProgress } from './progress.js';
import type { Latency, ServeLoad, Throughput } from './serve-load.js';
import { type PeerServeRun, peerServerSettings, runAgainst, startPeerServer } from './serve-peer.js';
import { startServer } from './server-process.js';
import { formatTable } from './table.js';

/** The server to compare with is inside the Python package. */
const PEER_SERVER = 'xllamacpp';

type ServeFlags = Readonly<Record<string, unknown>> & {
  readonly concurrency: readonly number[];
  readonly prompt: number;
  readonly generate: number;
  readonly seconds: number;
  readonly peer?: boolean;
  readonly rounds: number;
  readonly json?: boolean;
};

type Run = { readonly concurrency: number } & Throughput & Latency;

async function runLoads(load: Omit<ServeLoad, 'concurrency'>, concurrencies: readonly number[]): Promise<Run[]> {
  const { measureLatency, measureThroughput } = await import('./serve-load.js');
  const progress = createProgress();
  progress.start('serve', concurrencies.length * 2);
  const runs: Run[] = [];
  try {
    // One short stream first: pages and caches of a fresh process are no client's everyday.
    await measureLatency({ ...load, concurrency: 1, seconds: 0 });
    for (const concurrency of concurrencies) {
      const throughput = await measureThroughput({ ...load, concurrency });
      progress.update(runs.length * 2 + 1, `${concurrency} clients`);
      const latency = await measureLatency({ ...load, concurrency });
      runs.push({ concurrency, ...throughput, ...latency, errors: throughput.errors + latency.errors });
      progress.update(runs.length * 2, `${concurrency} clients, streaming`);
    }
  } finally {
    progress.stop();
  }
  return runs;
}

/** The peer's part of a result. */
type Against = {
  readonly name: string;
  readonly settings: string;
  readonly rounds: number;
  readonly runs: PeerServeRun[];
};

async function serveBench(flags: ServeFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const [{ resolveModel }, { readModelFile }] = await Promise.all([
    import('../../model/sources/resolve.js'),
    import('../../model/gguf.js'),
  ]);
  const modelPath = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const modelFile = await readModelFile(modelPath);
  const limitTokens = modelFile.architecture.contextLength;
  const promptTokens = flags.prompt + flags.generate;
  if (promptTokens > limitTokens) throw new NibbleError('context_length_exceeded', { promptTokens, limitTokens });
  const threads = config.threads ?? loadAddon().cpuInfo().defaultThreads;
  const server = await startServer([
    ...['--model', modelPath, '--threads', String(threads), '--activations', config.activations, '--kv', config.kv],
    ...(config.offline ? ['--offline'] : []),
  ]);
  try {
    const load = { promptTokens: flags.prompt, outputTokens: flags.generate, vocab: modelFile.architecture.vocab };
    const runs = await runLoads({ ...load, url: server.url, seconds: flags.seconds }, flags.concurrency);
    const clients = Math.max(...flags.concurrency);
    const peer = async () =>
      againstPeer(load, server.url, flags, { ...config, modelPath, threads, clients, tokens: promptTokens });
    await report(flags, { id: modelFile.id, threads }, runs, flags.peer === true ? await peer() : null);
  } finally {
    await server.stop();
  }
}

async function againstPeer(
  load: Pick<ServeLoad, 'promptTokens' | 'outputTokens' | 'vocab'>,
  ours: string,
  flags: ServeFlags,
  options: Parameters<typeof startPeerServer>[0],
): Promise<Against> {
  const server = await startPeerServer(options);
  const progress = createProgress();
  try {
    const urls = { ours, theirs: server.url };
    const runs = await runAgainst(load, urls, flags.concurrency, flags.rounds, progress);
    const settings = peerServerSettings(options.threads, options.clients);
    return { name: PEER_SERVER, settings, rounds: flags.rounds, runs };
  } finally {
    progress.stop();
    await server.stop();
  }
}

async function report(
  flags: ServeFlags,
  model: { readonly id: string; readonly threads: number },
  runs: readonly Run[],
  peer: Against | null,
): Promise<void> {
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo(), { threads: model.threads });
    const result = { promptTokens: flags.prompt, outputTokens: flags.generate, runs, peer };
    return printJsonResult({ machine, model: model.id }, result);
  }
  const rows = runs.map(({ concurrency, outputTokensPerS, ttftMs, itlMs, errors }) => [
    concurrency,
    outputTokensPerS,
    ...[ttftMs.p50, ttftMs.p95, ttftMs.p99, itlMs.p50, itlMs.p95, itlMs.p99],
    errors,
  ]);
  const latencies = ['TTFT p50', 'p95', 'p99', 'ITL p50', 'p95', 'p99 (ms)'];
  await writeStdout(formatTable(['clients', 'output tokens/s', ...latencies, 'errors'], rows));
  if (peer === null) return;
  const heads = ['clients', 'output tokens/s', peer.name, 'ratio', 'range', 'errors'];
  const peerRows = peer.runs.map(({ concurrency, ours, theirs, ratio, errors }) => [
    ...[concurrency, ours.median, theirs.median, ratio.median, `${ratio.min}–${ratio.max}`, errors],
  ]);
  await writeStdout(`\n${formatTable(heads, peerRows)}${peer.name}: ${peer.settings}\n`);
}

export function registerServeBench(bench: Command): void {
  const command = bench
    .command('serve')
    .description('Start a server and measure throughput and latency over HTTP.')
    .option('--concurrency <counts>', 'clients at once', integersIn(1, 256), [1, 4, 16])
    .option('-p, --prompt <tokens>', 'prompt tokens of each request', integerIn(1, 100_000), 128)
    .option('-n, --generate <tokens>', 'tokens to generate', integerIn(2, 100_000), 64)
    .option('--seconds <time>', 'time of each load', integerIn(1, 3600), 10)
    .option('--peer', `also compare with the server of llama.cpp (${PEER_SERVER}), fetched on first use`)
    .option('--rounds <count>', 'rounds of both servers with --peer', integerIn(5, 1000), 5)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(serveBench);
}
