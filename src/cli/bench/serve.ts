/** `nibble bench serve`: what clients of a server get, at several concurrencies. */
import { type Command, Option } from 'commander';
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
import { type WorkloadName, workloads } from './workloads/index.js';
import { ROUNDS_DEFAULT, type WorkloadFlags, type WorkloadHost } from './workloads/types.js';

/** The server to compare with is inside the Python package. */
const PEER_SERVER = 'xllamacpp';

type ServeFlags = Readonly<Record<string, unknown>> &
  WorkloadFlags & {
    readonly workload?: WorkloadName;
    readonly overhead?: boolean;
    readonly prefix: number;
    readonly peer?: boolean;
    readonly json?: boolean;
  };

/** Of the plain load: whole responses and streams of requests that share nothing. */
const plain: PlainDefaults = { concurrency: [1, 4, 16], prompt: 128, generate: 64, seconds: 10 };
type PlainDefaults = Required<Omit<WorkloadFlags, 'rounds' | 'trace'>>;
type PlainFlags = ServeFlags & PlainDefaults;

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

async function openHost(flags: ServeFlags): Promise<WorkloadHost> {
  const config = loadConfig(flags, process.env);
  const [{ resolveModel }, { readModelFile }] = await Promise.all([
    import('../../model/sources/resolve.js'),
    import('../../model/gguf.js'),
  ]);
  const path = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const { id, architecture } = await readModelFile(path);
  const threads = config.threads ?? loadAddon().cpuInfo().defaultThreads;
  const settings = [
    ...[
      '--model',
      path,
      '--threads',
      String(threads),
      '--activations',
      config.activations ?? 'auto',
      '--kv',
      config.kv ?? 'auto',
    ],
    ...(config.offline ? ['--offline'] : []),
    // Answers to random tokens repeat themselves as no real ones do: nothing is gained by that but in "summarize".
    ...['--speculate', 'off'],
  ];
  return {
    config,
    model: { path, id, vocab: architecture.vocab, contextTokens: architecture.contextLength },
    threads,
    start: (more = []) => startServer([...settings, ...more]),
  };
}

async function serveBench(flags: ServeFlags): Promise<void> {
  const host = await openHost(flags);
  const name = flags.overhead === true ? 'overhead' : flags.workload;
  if (name === undefined) return plainLoad(host, { ...plain, ...flags });
  const { text, result } = await workloads[name](host, flags);
  if (flags.json !== true) return writeStdout(text);
  const machine = machineOf(loadAddon().cpuInfo(), { threads: host.threads });
  return printJsonResult({ machine, model: host.model.id }, { workload: name, ...result });
}

async function plainLoad(host: WorkloadHost, flags: PlainFlags): Promise<void> {
  const { config, model, threads } = host;
  const promptTokens = flags.prefix + flags.prompt + flags.generate;
  const limitTokens = model.contextTokens;
  if (promptTokens > limitTokens) throw new NibbleError('context_length_exceeded', { promptTokens, limitTokens });
  const server = await host.start();
  try {
    const { prefix: prefixTokens, prompt, generate: outputTokens } = flags;
    const load = { prefixTokens, promptTokens: prompt, outputTokens, vocab: model.vocab };
    const runs = await runLoads({ ...load, url: server.url, seconds: flags.seconds }, flags.concurrency);
    const clients = Math.max(...flags.concurrency);
    const peerLoad = { modelPath: model.path, clients, tokens: promptTokens, keepsPrompts: prefixTokens > 0 };
    const settings = { ...config, threads, ...peerLoad };
    const peer = flags.peer === true ? await againstPeer(load, server.url, flags, settings) : null;
    await report(flags, { id: model.id, threads }, runs, peer);
  } finally {
    await server.stop();
  }
}

async function againstPeer(
  load: Pick<ServeLoad, 'prefixTokens' | 'promptTokens' | 'outputTokens' | 'vocab'>,
  ours: string,
  flags: PlainFlags,
  options: Parameters<typeof startPeerServer>[0],
): Promise<Against> {
  const { rounds = ROUNDS_DEFAULT } = flags;
  const server = await startPeerServer(options);
  const progress = createProgress();
  try {
    const urls = { ours, theirs: server.url };
    const runs = await runAgainst(load, urls, flags.concurrency, rounds, progress);
    return { name: PEER_SERVER, settings: peerServerSettings(options), rounds, runs };
  } finally {
    progress.stop();
    await server.stop();
  }
}

async function report(
  flags: PlainFlags,
  model: { readonly id: string; readonly threads: number },
  runs: readonly Run[],
  peer: Against | null,
): Promise<void> {
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo(), { threads: model.threads });
    const { prefix: prefixTokens, prompt: promptTokens, generate: outputTokens } = flags;
    const result = { prefixTokens, promptTokens, outputTokens, runs, peer };
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
    .option('--concurrency <counts>', 'clients at once (1,4,16)', integersIn(1, 256))
    .option('--prefix <tokens>', 'tokens that all prompts of the plain load begin with', integerIn(0, 100_000), 0)
    .option('-p, --prompt <tokens>', 'prompt tokens of each request (128)', integerIn(1, 100_000))
    .option('-n, --generate <tokens>', 'tokens to generate (64)', integerIn(2, 100_000))
    .option('--seconds <time>', 'time of each load (10)', integerIn(1, 3600))
    .addOption(new Option('--workload <name>', 'another load').choices(Object.keys(workloads)))
    .option('--trace <trace>', 'for --workload trace: requests as `nibble simulate` reads them')
    .option('--overhead', 'the same as --workload overhead: what serving adds to a step')
    .option('--peer', `also compare with the server of llama.cpp (${PEER_SERVER}), fetched on first use`)
    .option('--rounds <count>', 'rounds with --peer and of "summarize" (5), of the overhead (11)', integerIn(1, 1000))
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(serveBench);
}
