/** `nibble eval gate`: fails if a candidate is too far from its reference. What a pipeline runs before it deploys. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { type Contender, readContender } from './compare/candidates.js';
import { readTokens } from './data.js';
import { parseProtocol } from './perplexity.js';
import { type Agreement, measureAgreement } from './scorer.js';
import { openForEval } from './session.js';
import { type Protocol, windowsOf } from './windows.js';

type GateFlags = Readonly<Record<string, unknown>> & {
  readonly reference: Contender;
  readonly candidate: Contender;
  readonly data: string;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly maxKl?: number;
  readonly maxPplRatio?: number;
  readonly json?: boolean;
};

export type GateLimits = { readonly maxKl?: number | undefined; readonly maxPplRatio?: number | undefined };

/** What exceeds its limit; a figure that is no number does. */
export function findExcess({ klMean, ratio }: Pick<Agreement, 'klMean' | 'ratio'>, limits: GateLimits): string[] {
  const exceeds = (name: string, value: number, limit: number | undefined): string[] =>
    limit === undefined || value <= limit ? [] : [`${name} ${significant(value, 5)} exceeds ${limit}`];
  return [
    ...exceeds('mean KL divergence', klMean, limits.maxKl),
    ...exceeds('perplexity ratio', ratio, limits.maxPplRatio),
  ];
}

const numberFrom = (minimum: number) => (text: string) => {
  const value = /^\d+(\.\d+)?(e-?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value >= minimum && Number.isFinite(value)))
    throw new InvalidArgumentError(`must be a number from ${minimum}.`);
  return value;
};

async function gate(flags: GateFlags): Promise<void> {
  const { maxKl, maxPplRatio } = flags;
  if (maxKl === undefined && maxPplRatio === undefined) {
    throw new NibbleError('invalid_request', { message: 'Give --max-kl, --max-ppl-ratio or both.' });
  }
  const config = loadConfig(flags, process.env);
  const progress = createProgress();
  let candidate: OpenedModel | undefined;
  const asFloat = { activations: 'f32' as const, ...flags.reference.changes };
  const reference = await openForEval(config, flags.window, asFloat);
  try {
    const tokens = await readTokens(flags.data, reference.tokenizer, flags.window);
    candidate = await openForEval(config, flags.window, flags.candidate.changes);
    const windows = windowsOf(tokens, flags.window).slice(0, flags.windows);
    progress.start('gate', windows.length);
    const [measured] = await measureAgreement(reference, [candidate], windows, flags.protocol, (done) =>
      progress.update(done),
    );
    progress.stop();
    if (measured === undefined) return;
    const excess = findExcess(measured, { maxKl, maxPplRatio });
    await report(flags, candidate, measured, excess);
    if (excess.length > 0) throw new NibbleError('quality_gate_failed', { name: flags.candidate.name, excess });
  } finally {
    progress.stop();
    await candidate?.close();
    await reference.close();
  }
}

async function report(flags: GateFlags, opened: OpenedModel, found: Agreement, excess: readonly string[]) {
  const { maxKl = null, maxPplRatio = null } = flags;
  if (flags.json === true) {
    const { level, threads } = opened.nativeModel.info;
    return printJsonResult(
      { machine: machineOf(loadAddon().cpuInfo(), { isa: level, threads }), model: opened.modelFile.id },
      {
        ...{ isPassed: excess.length === 0, excess, maxKl, maxPplRatio },
        ...{ klMean: significant(found.klMean), klError: significant(found.klError) },
        ...{ ratio: significant(found.ratio, 6), ratioError: significant(found.ratioError) },
        ...{ tokens: found.candidate.tokens, windowTokens: flags.window, protocol: flags.protocol },
      },
    );
  }
  await writeStdout(
    `mean KL divergence ${found.klMean.toExponential(3)} ± ${found.klError.toExponential(1)} nats, ` +
      `perplexity ratio ${found.ratio.toFixed(5)} ± ${found.ratioError.toFixed(5)} ` +
      `(${found.candidate.tokens} tokens): ${excess.length === 0 ? 'passed' : 'failed'}\n`,
  );
}

export function registerGate(parent: Command): void {
  const command = parent
    .command('gate')
    .description('Exit with an error if a candidate is further from its reference than allowed.')
    .requiredOption('--reference <file>', 'model file; computed with f32 activations', readContender)
    .requiredOption('--candidate <file>', 'FILE, or FILE#activations=f32&kv=kv8', readContender)
    .requiredOption('--data <file>', 'text file')
    .option('--max-kl <nats>', 'largest mean KL divergence', numberFrom(0))
    .option('--max-ppl-ratio <ratio>', 'largest perplexity ÷ that of the reference', numberFrom(0))
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(4, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--json', 'print one JSON object');
  addSettingOptions(
    command,
    benchSettings.filter((key) => key !== 'model'),
  ).action(gate);
}
