/** `nibble tco`: what a workload costs in each of several ways, when one pays for itself, and how sure that is. */
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.js';
import { analyze } from '../../cost/tco/analysis.js';
import type { Scenario } from '../../cost/tco/scenario.js';
import { NibbleError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { machineOf, printJsonResult, sourceCommit, writeReport, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { DRAWS, SEED } from './defaults.js';
import { examples } from './examples.js';
import { readMeasured } from './measured.js';
import { describePlan, describePlanJson } from './present.js';
import { checkNames, readScenario } from './read-scenario.js';
import { withMeasured, withPrices } from './site.js';

type TcoFlags = Readonly<Record<string, unknown>> & {
  readonly scenario?: string;
  readonly example?: string;
  readonly measured?: string;
  readonly draws: number;
  readonly seed: number;
  readonly out?: string;
  readonly json?: boolean;
};

function readExample(text: string): string {
  if (Object.hasOwn(examples, text)) return text;
  throw new InvalidArgumentError(`must be one of: ${Object.keys(examples).join(', ')}.`);
}

/** The file as it stands, with what was measured and with the prices of this site where they are given. */
async function chooseScenario(flags: TcoFlags, path: string): Promise<Scenario> {
  const { prices } = loadConfig(flags, process.env);
  let scenario = await readScenario(path);
  if (flags.measured !== undefined) scenario = withMeasured(scenario, await readMeasured(flags.measured));
  if (prices !== null) scenario = withPrices(scenario, prices);
  checkNames(scenario, (message) => new NibbleError('scenario_invalid', { path, message }, { param: 'scenario' }));
  return scenario;
}

async function tco(flags: TcoFlags, command: Command): Promise<void> {
  if (flags.example !== undefined) return writeStdout(`${JSON.stringify(examples[flags.example], null, 2)}\n`);
  if (flags.scenario === undefined) return command.error("error: required option '--scenario <file>' not specified");
  const scenario = await chooseScenario(flags, flags.scenario);
  const plan = { scenario, analysis: analyze(scenario, flags.draws, flags.seed) };
  if (flags.out !== undefined) {
    const { renderTcoPage } = await import('./report.js');
    const commandLine = ['nibble', ...process.argv.slice(2)].join(' ');
    const origin = { date: new Date().toISOString(), commit: await sourceCommit(), command: commandLine };
    await writeReport(flags.out, renderTcoPage(plan, origin));
  }
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo());
    return printJsonResult({ machine, model: null }, describePlanJson(plan));
  }
  await writeStdout(describePlan(plan));
}

/** Adds `nibble tco`. */
export function registerTco(program: Command): void {
  const command = program
    .command('tco')
    .description('Compare what a workload costs on boxes, with accelerators and in the cloud (docs/tco.md).')
    .option('--scenario <file>', 'JSON: volumes, targets, prices, options')
    .option('--example <name>', `print a scenario to start from: ${Object.keys(examples).join(', ')}`, readExample)
    .option('--measured <file>', 'what `nibble poc --json` printed: figures of this box')
    .option('--draws <count>', 'draws of all ranges at once', integerIn(1, 100_000), DRAWS)
    .option('--seed <number>', 'of the draws', integerIn(0, 2 ** 32 - 1), SEED)
    .option('--out <file>', 'write a report as one HTML file')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, ['prices']).action((flags: TcoFlags) => tco(flags, command));
}
