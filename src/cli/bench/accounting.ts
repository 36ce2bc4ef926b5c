/** `nibble bench accounting`: what it costs to know what requests cost, and how far a table of energies is off. */
import type { Command } from 'commander';
import { type Config, loadConfig } from '../../config.js';
import { horowitz45nm } from '../../cost/energy-table.js';
import { workOf } from '../../cost/step-work.js';
import { greedy } from '../../engine/greedy.js';
import type { OpenedModel } from '../../engine/open-types.js';
import type { EngineObserver } from '../../engine/types.js';
import { CostBook } from '../../metering/cost-book.js';
import { EnergyMonitor } from '../../metering/energy-monitor.js';
import { modelWorkOf } from '../../metering/model-work.js';
import { openMeter } from '../../metering/open-meter.js';
import { packedHeadBytes } from '../../model/packed-bytes.js';
import { readCounter } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { openOptions } from '../open-options.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn, integersIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { nativeCall } from './native-call.js';
import { median, significant } from './statistics.js';
import { formatTable } from './table.js';

type AccountingFlags = Readonly<Record<string, unknown>> & {
  readonly generate: number;
  readonly batch: readonly number[];
  readonly json?: boolean;
};

type OnStep = Required<EngineObserver>['onStep'];

/** Readings a second of a busy server: the monitor's own, and two of the books. */
const READINGS_PER_S = 3;
const READINGS_MEASURED = 300;
/** Steps that are divided together: fewer than there are in a second, so that the monitor's own reading adds little. */
const STEPS_A_READING = 40;

/** A model whose steps are watched by whoever asks. */
type Watched = { readonly opened: OpenedModel; readonly watch: (onStep: OnStep) => void };

async function openWatched(config: Config, contextTokens: number, sequences: number): Promise<Watched> {
  const { openModel } = await import('../../engine/open.js');
  let current: OnStep = () => {};
  const opened = await openModel({
    ...openOptions(config),
    // Guesses would make steps of other sizes.
    ...{ contextTokens, kvTokens: contextTokens * sequences, maxSequences: sequences, speculate: 'off' },
    observer: { onStep: (step) => current(step) },
  });
  return { opened, watch: (onStep) => (current = onStep) };
}

async function measure({ opened, watch }: Watched, config: Config, batch: number, tokens: number) {
  const { engine, nativeModel, modelFile } = opened;
  const { meter } = openMeter({ setting: config.energyMeter, wattsPerCore: config.coreWatts, hearsOfSteps: true });
  const monitor = new EnergyMonitor(meter);
  const book = new CostBook({ monitor, prices: null });
  const headBytes = packedHeadBytes(modelFile.tensors);
  const work = modelWorkOf(nativeModel.info, modelFile.architecture, config.activations ?? 'a8', headBytes);
  const stepMs: number[] = [];
  const ownUs: number[] = [];
  const divideUs: number[] = [];
  const steps: Parameters<OnStep>[0]['parts'][] = [];
  watch(({ counters, parts, decodeTokens }) => {
    const begin = performance.now();
    // The engine has made the parts already; to make them again takes as long.
    const again = parts.map((part) => ({ ...part }));
    monitor.addStep(readCounter(counters, 'totalNs') * 1e-9, again, work);
    steps.push(parts);
    if (decodeTokens !== batch) return;
    ownUs.push((performance.now() - begin) * 1000);
    stepMs.push(readCounter(counters, 'totalNs') / 1e6);
    if (stepMs.length % STEPS_A_READING !== 0) return;
    const between = performance.now();
    monitor.settle();
    divideUs.push(((performance.now() - between) * 1000) / STEPS_A_READING);
  });
  const entries = Array.from({ length: batch }, () => book.begin({ key: 'k', model: 'm', recipe: 'r' }));
  const requests = entries.map(({ account }, choice) => ({
    ...{ promptIds: Int32Array.of(1 + choice), maxTokens: tokens, sampling: { ...greedy, choice }, stop: [] },
    ...{ logprobs: null, scorePrompt: false, ignoreEos: true, accounts: [account] },
  }));
  const read = async (generation: AsyncIterable<unknown>) => {
    for await (const _ of generation);
  };
  await Promise.all(engine.submit(requests, new AbortController().signal).map(read));
  const begin = performance.now();
  for (let i = 0; i < READINGS_MEASURED; i++) book.tick();
  const readUs = ((performance.now() - begin) * 1000) / READINGS_MEASURED;
  const source = meter.description;
  const { prefillJoules, decodeJoules } = book.requests;
  const modelledPj = steps.flatMap((parts) => workOf(parts, work, horowitz45nm)).reduce((sum, own) => sum + own, 0);
  book.close();
  monitor.close();
  const [step, own] = [median(stepMs), median(ownUs) + median(divideUs)];
  return {
    meter: source,
    run: {
      ...{ batch, stepMs: significant(step), accountingUs: significant(own, 3) },
      ...{ stepShare: significant(own / 1000 / step, 3), readUs: significant(readUs, 3) },
      coreShare: significant((readUs * READINGS_PER_S) / 1e6, 3),
      stepMj: significant(((prefillJoules + decodeJoules) * 1000) / steps.length, 3),
      modelledMj: significant((modelledPj * 1e-9) / steps.length, 3),
    },
  };
}

async function accounting(flags: AccountingFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const watched = await openWatched(config, flags.generate + 32, Math.max(...flags.batch));
  const { opened } = watched;
  try {
    const found: Awaited<ReturnType<typeof measure>>[] = [];
    for (const batch of flags.batch) {
      found.push(await nativeCall(() => measure(watched, config, batch, flags.generate)));
    }
    const runs = found.map(({ run }) => run);
    const meter = found[0]?.meter ?? '';
    const { level, threads } = opened.nativeModel.info;
    if (flags.json === true) {
      const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
      return await printJsonResult({ machine, model: opened.modelFile.id }, { meter, runs });
    }
    const energies = ['energy of a step, mJ', 'modelled, mJ'];
    const heads = ['batch', 'step, ms', 'accounting, µs', 'of a step', 'reading, µs', 'of a core', ...energies];
    const share = (value: number) => `${significant(100 * value, 2)} %`;
    const rows = runs.map((run) => [
      ...[run.batch, run.stepMs, run.accountingUs, share(run.stepShare), run.readUs, share(run.coreShare)],
      ...[run.stepMj, run.modelledMj],
    ]);
    await writeStdout(`${formatTable(heads, rows)}\nmeter: ${meter}\n`);
  } finally {
    await opened.close();
  }
}

export function registerAccounting(bench: Command): void {
  const command = bench
    .command('accounting')
    .description('Measure what it costs to divide the energy of steps among requests, and to read the meter.')
    .option('-n, --generate <tokens>', 'tokens of each sequence', integerIn(STEPS_A_READING + 8, 1000), 400)
    .option('--batch <counts>', 'sequences at once', integersIn(1, 64), [1, 16])
    .option('--json', 'print one JSON object');
  addSettingOptions(command, [...benchSettings, 'energyMeter', 'coreWatts']).action(accounting);
}
