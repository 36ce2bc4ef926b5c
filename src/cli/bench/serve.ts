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
import { startServer } from './server-process.js';
import { formatTable } from './table.js';

type ServeFlags = Readonly<Record<string, unknown>> & {
  readonly concurrency: readonly number[];
  readonly prompt: number;
  readonly generate: number;
  readonly seconds: number;
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
    ...['--model', modelPath, '--threads', String(threads), '--activations', config.activations],
    ...(config.offline ? ['--offline'] : []),
  ]);
  try {
    const load = {
      url: server.url,
      promptTokens: flags.prompt,
      outputTokens: flags.generate,
      vocab: modelFile.architecture.vocab,
      seconds: flags.seconds,
    };
    const runs = await runLoads(load, flags.concurrency);
    if (flags.json === true) {
      const machine = machineOf(loadAddon().cpuInfo(), { threads });
      const result = { promptTokens: flags.prompt, outputTokens: flags.generate, runs };
      return await printJsonResult({ machine, model: modelFile.id }, result);
    }
    const rows = runs.map(({ concurrency, outputTokensPerS, ttftMs, itlMs, errors }) => [
      concurrency,
      outputTokensPerS,
      ...[ttftMs.p50, ttftMs.p95, ttftMs.p99, itlMs.p50, itlMs.p95, itlMs.p99],
      errors,
    ]);
    const latencies = ['TTFT p50', 'p95', 'p99', 'ITL p50', 'p95', 'p99 (ms)'];
    await writeStdout(formatTable(['clients', 'output tokens/s', ...latencies, 'errors'], rows));
  } finally {
    await server.stop();
  }
}

export function registerServeBench(bench: Command): void {
  const command = bench
    .command('serve')
    .description('Start a server and measure throughput and latency over HTTP.')
    .option('--concurrency <counts>', 'clients at once', integersIn(1, 256), [1, 4, 16])
    .option('-p, --prompt <tokens>', 'prompt tokens of each request', integerIn(1, 100_000), 128)
    .option('-n, --generate <tokens>', 'tokens to generate', integerIn(2, 100_000), 64)
    .option('--seconds <time>', 'time of each load', integerIn(1, 3600), 10)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(serveBench);
}
