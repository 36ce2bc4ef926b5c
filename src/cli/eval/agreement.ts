/** `nibble eval agreement`: how far a candidate's predictions are from a reference's, token by token. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { activationsOf } from '../../model/recipe.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import { parseProtocol } from './perplexity.js';
import { type Agreement, checkSameVocabulary, measureAgreement } from './scorer.js';
import { openForEval } from './session.js';
import { type Perplexity, type Protocol, windowsOf } from './windows.js';

type AgreementFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly reference?: string;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly json?: boolean;
};

async function agreement(flags: AgreementFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const candidate = await openForEval(config, flags.window);
  const progress = createProgress();
  let reference: OpenedModel | undefined;
  try {
    const tokens = await readTokens(flags.data, candidate.tokenizer, flags.window);
    reference = await openForEval(config, flags.window, {
      activations: 'f32',
      ...(flags.reference === undefined ? {} : { model: flags.reference }),
    });
    checkSameVocabulary(reference, candidate);
    const windows = windowsOf(tokens, flags.window).slice(0, flags.windows);
    progress.start('agreement', windows.length);
    const [measured] = await measureAgreement(reference, [candidate], windows, flags.protocol, (done) =>
      progress.update(done),
    );
    progress.stop();
    if (measured !== undefined)
      await report(flags, candidate, reference, measured, activationsOf(candidate.modelFile, config.activations));
  } finally {
    progress.stop();
    await reference?.close();
    await candidate.close();
  }
}

async function report(
  flags: AgreementFlags,
  candidate: OpenedModel,
  reference: OpenedModel,
  measured: Agreement,
  activations: string,
): Promise<void> {
  const described = ({ perplexity, standardError }: Perplexity) => ({
    perplexity: significant(perplexity, 8),
    standardError: significant(standardError),
  });
  if (flags.json === true) {
    const { level, threads } = candidate.nativeModel.info;
    return printJsonResult(
      { machine: machineOf(loadAddon().cpuInfo(), { isa: level, threads }), model: candidate.modelFile.id },
      {
        ...{ klMean: significant(measured.klMean), klP99: significant(measured.klP99) },
        ...{ sameTop: significant(measured.sameTop, 6), tokens: measured.candidate.tokens },
        reference: { model: reference.modelFile.id, activations: 'f32', ...described(measured.reference) },
        candidate: { model: candidate.modelFile.id, activations, ...described(measured.candidate) },
        ...{ windowTokens: flags.window, protocol: flags.protocol },
      },
    );
  }
  const line = (name: string, { perplexity, standardError }: Perplexity) =>
    `${name} perplexity ${perplexity.toFixed(4)} ± ${standardError.toFixed(4)}\n`;
  await writeStdout(
    `KL(reference‖candidate) mean ${measured.klMean.toExponential(3)} nats, ` +
      `99th percentile ${measured.klP99.toExponential(3)} nats\n` +
      `same most likely token ${(100 * measured.sameTop).toFixed(2)} % of ${measured.candidate.tokens}\n` +
      line('reference', measured.reference) +
      line('candidate', measured.candidate),
  );
}

export function registerAgreement(parent: Command): void {
  const command = parent
    .command('agreement')
    .description('Compare a model with a reference: the same file (or another) with f32 activations.')
    .requiredOption('--data <file>', 'text file')
    .option('--reference <file>', 'model file of the reference (default: the same)')
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(4, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(agreement);
}
