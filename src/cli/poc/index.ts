/** `nibble poc`: the user's own prompts through a baseline and candidates on this machine, and what to deploy. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig, type SettingKey } from '../../config.js';
import { NibbleError } from '../../errors.js';
import { SEQUENCES_MAX } from '../../limits.js';
import { readModelFile } from '../../model/gguf.js';
import { resolveModel } from '../../model/sources/resolve.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { createProgress, type Progress } from '../bench/progress.js';
import { type Contender, readContender } from '../eval/compare/candidates.js';
import { readText } from '../eval/data.js';
import { type Asked, makeCandidate, readAskedList } from '../make-candidate.js';
import { checkWritable, machineOf, printJsonResult, sourceCommit, writeReport, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { type Measured, measureModels } from './measure.js';
import { choosePlan, type PlanFlags, pricePerThousand } from './plan.js';
import { describePoc, describePocJson } from './present.js';
import { parsePrompts, type ReadyPrompt, readyPrompts } from './prompts.js';
import { compareTexts, forcedSequences, matchAnswers, measureForced } from './quality.js';
import { recommend } from './recommend.js';
import type { Poc, PocModel } from './result.js';

type PocFlags = Readonly<Record<string, unknown>> &
  PlanFlags & {
    readonly prompts: string;
    readonly candidates: readonly Asked[];
    readonly baseline?: Contender;
    readonly calibration?: string;
    readonly maxTokens: number;
    readonly streams: number;
    readonly maxKl: number;
    readonly includePrompts?: boolean;
    readonly out?: string;
    readonly json?: boolean;
  };

const settings: readonly SettingKey[] = [
  'model',
  'threads',
  'kv',
  'energyMeter',
  'coreWatts',
  'prices',
  'offline',
  'home',
];

/** All models, the baseline first: by default the model itself, computed with f32 activations. */
async function findModels(flags: PocFlags, config: Config, signal: AbortSignal): Promise<Contender[]> {
  const source = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const options = { config, source, calibration: flags.calibration ?? null, signal };
  const given = flags.baseline ?? { name: 'baseline', changes: { model: source } };
  const asFloat = { ...given, changes: { activations: 'f32' as const, ...given.changes } };
  const models = [await makeCandidate(options, { ...asFloat, recipe: null })];
  for (const asked of flags.candidates) models.push(await makeCandidate(options, asked));
  const names = models.map(({ name }) => name);
  return models.map((model, i) => (names.indexOf(model.name) < i ? { ...model, name: `${model.name} (${i})` } : model));
}

/** Tokens of the prompts by the baseline; every model must have the same tokens and room for them. */
async function readPrompts(flags: PocFlags, text: string, models: readonly Contender[]): Promise<ReadyPrompt[]> {
  const prompts = parsePrompts(text, flags.prompts);
  const files = await Promise.all(models.map(({ changes }) => readModelFile(changes.model)));
  const [baseline] = files;
  if (baseline === undefined) return [];
  if (files.some(({ architecture }) => architecture.vocab !== baseline.architecture.vocab)) {
    throw new NibbleError(
      'invalid_request',
      { message: 'The models have different vocabularies.' },
      { param: 'candidates' },
    );
  }
  const { createTokenizer } = await import('../../model/tokenizer/index.js');
  const { openChatTemplate } = await import('../../engine/open.js');
  const contextTokens = Math.min(...files.map(({ architecture }) => architecture.contextLength));
  const reader = { tokenizer: createTokenizer(baseline.tokenizer), chatTemplate: openChatTemplate(baseline) };
  try {
    const limits = { path: flags.prompts, tokensMax: flags.maxTokens, contextTokens };
    return await readyPrompts(prompts, reader, limits);
  } finally {
    await reader.chatTemplate?.close();
  }
}

type Task = {
  readonly flags: PocFlags;
  readonly config: Config;
  readonly models: readonly Contender[];
  readonly prompts: readonly ReadyPrompt[];
  readonly progress: Progress;
};

/** Quality of each model beside the first. */
async function judge({ config, models, prompts, progress }: Task, measured: readonly Measured[]) {
  const [baseline, ...candidates] = models;
  const theirs = measured[0]?.answers ?? [];
  const sequences = forcedSequences(prompts, theirs);
  if (baseline === undefined || sequences.length === 0) {
    throw new NibbleError(
      'invalid_request',
      { message: 'The baseline answered every prompt with nothing.' },
      { param: 'prompts' },
    );
  }
  const agreements = await measureForced({ config, baseline, candidates, sequences }, progress);
  return measured.map(({ answers }, i) => {
    const agreement = agreements[i - 1];
    const texts = compareTexts(answers, theirs);
    return {
      quality: agreement === undefined ? null : { agreement, texts },
      exactMatch: matchAnswers(prompts, answers, theirs),
    };
  });
}

async function study(task: Task, signal: AbortSignal, text: string): Promise<Poc> {
  const { flags, config, models, prompts, progress } = task;
  const measured = await measureModels({ config, streams: flags.streams, signal }, models, prompts, progress);
  const judged = await judge(task, measured);
  progress.stop();
  const plan = await choosePlan(flags, config, measured);
  const described: PocModel[] = [];
  for (const [i, found] of measured.entries()) {
    const contender = models[i];
    const { quality = null, exactMatch = null } = judged[i] ?? {};
    if (contender === undefined) continue;
    const { name, changes } = contender;
    const head = { name, isBaseline: i === 0, file: changes.model, fileBytes: (await stat(changes.model)).size };
    described.push({
      ...head,
      measured: found,
      quality,
      exactMatch,
      pricePerThousand: pricePerThousand(plan.scenario, found),
    });
  }
  const recommendation = recommend(
    described.map((model, i) => ({
      ...{ name: model.name, isBaseline: model.isBaseline, agreement: model.quality?.agreement ?? null },
      ...{ exactMatch: model.exactMatch, requestsPerS: model.measured.requestsPerS },
      ...{ joulesPerRequest: model.measured.joulesPerRequest, plan: plan.outcomeOf(i) },
    })),
    { klMax: flags.maxKl, cheapest: plan.analysis.best, box: plan.boxName },
  );
  const energy = measured[0]?.energy ?? null;
  return {
    machine: machineOf(loadAddon().cpuInfo(), config.threads === null ? {} : { threads: config.threads }),
    ...{ commit: await sourceCommit(), date: new Date().toISOString() },
    command: ['nibble', ...process.argv.slice(2)].join(' '),
    data: { path: flags.prompts, sha256: createHash('sha256').update(text).digest('hex') },
    ...{ prompts, streams: flags.streams, klMax: flags.maxKl, models: described, recommendation },
    energy: energy === null ? null : { source: energy.source, meter: energy.meter },
    plan: { scenario: plan.scenario, analysis: plan.analysis },
    isOwnScenario: flags.scenario !== undefined,
  };
}

async function report(flags: PocFlags, poc: Poc): Promise<void> {
  if (flags.out !== undefined) {
    const { renderPocPage } = await import('./report.js');
    await writeReport(flags.out, renderPocPage(poc, flags.includePrompts === true));
  }
  const { machine, models } = poc;
  if (flags.json === true) return printJsonResult({ machine, model: models[0]?.name ?? null }, describePocJson(poc));
  await writeStdout(describePoc(poc));
}

async function poc(flags: PocFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  // What could go wrong in the end goes wrong at the start.
  const text = await readText(flags.prompts);
  parsePrompts(text, flags.prompts);
  await choosePlan(flags, config, null);
  if (flags.out !== undefined) await checkWritable(flags.out);
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const progress = createProgress();
  try {
    const models = await findModels(flags, config, abort.signal);
    const prompts = await readPrompts(flags, text, models);
    await report(flags, await study({ flags, config, models, prompts, progress }, abort.signal, text));
  } finally {
    progress.stop();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function nats(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError('must be a number, 0 or more.');
}

/** Adds `nibble poc`. */
export function registerPoc(program: Command): void {
  const command = program
    .command('poc')
    .description(
      'Try recipes on your own prompts on this machine: quality, speed, energy, cost (docs/proof-of-concept.md).',
    )
    .requiredOption('--prompts <file>', 'lines of {"prompt": …} or {"messages": …}; with "answer" if it is known')
    .requiredOption('--candidates <names>', 'recipes and model files: w4a8,agile,own.gguf#kv=kv8', readAskedList)
    .option('--baseline <file>', 'what they are compared with (default: the model with f32 activations)', readContender)
    .option('--calibration <file>', 'text for recipes that need one (default: the model writes its own)')
    .option('--max-tokens <count>', 'of an answer whose prompt says nothing else', integerIn(1, 100_000), 64)
    .option('--streams <count>', 'prompts that are answered at a time', integerIn(1, SEQUENCES_MAX), 4)
    .option('--max-kl <nats>', 'largest mean KL divergence of a model that is recommended', nats, 0.05)
    .option('--scenario <file>', 'of the costs in the long run (docs/tco.md; default: an example)')
    .option('--include-prompts', 'show prompts and answers in the report')
    .option('--out <file>', 'write a report as one HTML file')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, settings).action(poc);
}
