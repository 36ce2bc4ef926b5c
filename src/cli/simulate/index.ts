/** `nibble simulate`: what clients would get, from the scheduler itself on a clock driven by a model of the machine. */
import { type Command, Option } from 'commander';
import { loadConfig, type SettingKey } from '../../config.js';
import { loadAddon } from '../../native/load.js';
import { integerIn, integersIn } from '../bench/arguments.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { type MeasuredModel, measureModel } from './calibrate.js';
import { readCost } from './cost.js';
import { fleetTable } from './fleet-table.js';
import { type Policy, readPolicy, settledPolicy } from './policy.js';
import { predict, summarize } from './predict.js';
import { openTrace } from './trace.js';

const settings: readonly SettingKey[] = [
  ...(['model', 'threads', 'activations', 'kv', 'contextTokens', 'kvTokens', 'maxSequences', 'maxWaiting'] as const),
  ...(['maxWaitingTokens', 'queueSeconds', 'itlTarget', 'offline', 'home'] as const),
];

type Flags = Readonly<Record<string, unknown>> & {
  readonly trace: string;
  readonly policy?: readonly Partial<Policy>[];
  readonly cost?: string;
  readonly goodTtft: number;
  readonly json?: boolean;
  readonly replicas?: readonly number[];
};

/** Context of a model that is only known by its costs, tokens. */
const contextDefault = 8192;

async function simulate(flags: Flags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const open = await openTrace(flags.trace);
  const contextTokens = config.contextTokens ?? contextDefault;
  const machine: MeasuredModel =
    flags.cost === undefined
      ? await measureModel(config)
      : { cost: await readCost(flags.cost), model: null, contextTokens };
  const settled = settledPolicy(config, machine.contextTokens);
  if (flags.replicas !== undefined) {
    return await writeStdout(
      fleetTable(flags.trace, flags.replicas, settled, { ...machine, goodTtftMs: flags.goodTtft }),
    );
  }
  const runs = (flags.policy ?? [{}]).map((change) => {
    const policy = { ...settled, ...change };
    const conditions = { ...machine, goodTtftMs: flags.goodTtft };
    return { policy, change, summary: summarize(predict(open(), policy, conditions)) };
  });
  const costs = machine.cost.map((value) => significant(value));
  if (flags.json === true) {
    const context = { machine: machineOf(loadAddon().cpuInfo()), model: machine.model };
    const results = runs.map(({ policy, summary }) => ({ policy, ...summary }));
    return await printJsonResult(context, { trace: flags.trace, costs, goodTtftMs: flags.goodTtft, runs: results });
  }
  await writeStdout(`${tableOf(runs)}step costs: ${costs.join(',')}\n`);
}

type Run = { readonly change: Partial<Policy>; readonly summary: ReturnType<typeof summarize> };

/** A column for each policy. */
function tableOf(runs: readonly Run[]): string {
  const name = ({ change }: Run) => Object.entries(change).flat().join(' ') || 'as set';
  const row = (title: string, read: (summary: Run['summary']) => number) => [
    title,
    ...runs.map(({ summary }) => read(summary)),
  ];
  const counts = ['requests', 'completed', 'refused', 'timedOut', 'good', 'preemptions', 'cachedTokens'] as const;
  const rates = ['seconds', 'outputTokensPerS', 'goodPerS'] as const;
  const quantiles = ['mean', 'p50', 'p95', 'p99'] as const;
  return formatTable(
    ['simulated', ...runs.map(name)],
    [
      ...[...counts, ...rates].map((key) => row(key, (summary) => summary[key])),
      ...quantiles.map((key) => row(`TTFT ${key} ms`, ({ ttftMs }) => ttftMs[key])),
      ...quantiles.map((key) => row(`ITL ${key} ms`, ({ itlMs }) => itlMs[key])),
    ],
  );
}

const traceHelp =
  'a file of JSON lines, or poisson:…, bursts:… or closed:… with any of rate, requests, clients, think, prompt, ' +
  'output, spread, shared, groups, tenants, burst, seed';

/** Adds `nibble simulate`. */
export function registerSimulate(program: Command): void {
  const command = program
    .command('simulate')
    .description('Predict what clients get: the scheduler on a simulated clock, millions of requests if need be.')
    .option('--trace <trace>', traceHelp, 'poisson:rate=10,requests=1000')
    .option('--policy <changes>', 'such as itlTarget=50,maxSequences=16; several are compared', readPolicy)
    .option('--cost <costs>', 'of steps: a server that has learned them (http://…), or five numbers; else measured')
    .option('--good-ttft <ms>', 'a request is good if its first token comes within this', integerIn(1, 3_600_000), 2000)
    .addOption(
      new Option('--replicas <counts>', 'of a fleet, such as 1,10,100: round-robin against cache-aware; a table')
        .argParser(integersIn(1, 1000))
        .conflicts(['json', 'policy']),
    )
    .option('--json', 'print one JSON object');
  addSettingOptions(command, settings).action(simulate);
}
