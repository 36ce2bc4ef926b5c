/** `nibble eval agreement`: how far a candidate's predictions are from a reference's, token by token. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { activationsOf } from '../../model/recipe.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { quantile, significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import { argmax, klDivergence } from './divergence.js';
import { parseProtocol } from './perplexity.js';
import { openForEval, scoreSequence } from './session.js';
import { firstScoredRow, LossMeter, type Perplexity, type Protocol, windowsOf } from './windows.js';

type AgreementFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly reference?: string;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly json?: boolean;
};

/** Rows of logits held at once per model: 32 rows of a vocabulary of 128k are 16 MB. */
const ROWS_AT_ONCE = 32;

export type Agreement = {
  /** KL(reference‖candidate) per token, nats. */
  readonly klMean: number;
  readonly klP99: number;
  /** Share of tokens where both find the same token most likely. */
  readonly sameTop: number;
  readonly reference: Perplexity;
  readonly candidate: Perplexity;
};

type Model = Pick<OpenedModel, 'nativeModel' | 'modelFile'>;

export async function measureAgreement(
  reference: Model,
  candidate: Model,
  windows: readonly Int32Array[],
  protocol: Protocol,
  onWindow: (done: number) => void = () => {},
): Promise<Agreement> {
  const vocab = candidate.modelFile.architecture.vocab;
  const divergences: number[] = [];
  const losses = { reference: new LossMeter(), candidate: new LossMeter() };
  let same = 0;
  const outputs = { wantLogprobs: true, wantLogits: true, rowsMax: ROWS_AT_ONCE };
  for (const [index, tokens] of windows.entries()) {
    const first = firstScoredRow(tokens.length, protocol);
    const theirs = scoreSequence(reference.nativeModel, tokens, first, outputs);
    for await (const ours of scoreSequence(candidate.nativeModel, tokens, first, outputs)) {
      const { value: rows } = await theirs.next();
      const p = rows?.result.logits;
      const q = ours.result.logits;
      if (rows === undefined || !p || !q) throw new NibbleError('engine_failed', { message: 'a step gave no logits' });
      for (let row = 0; row < ours.rows; ++row) {
        const pRow = p.subarray(row * vocab, (row + 1) * vocab);
        const qRow = q.subarray(row * vocab, (row + 1) * vocab);
        divergences.push(klDivergence(pRow, qRow));
        if (argmax(pRow) === argmax(qRow)) ++same;
        losses.reference.add(-(rows.result.logprobs[row] ?? Number.NaN));
        losses.candidate.add(-(ours.result.logprobs[row] ?? Number.NaN));
      }
    }
    await theirs.return();
    onWindow(index + 1);
  }
  return {
    klMean: divergences.reduce((sum, kl) => sum + kl, 0) / divergences.length,
    klP99: quantile(divergences, 0.99),
    sameTop: same / divergences.length,
    reference: losses.reference.result(),
    candidate: losses.candidate.result(),
  };
}

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
    if (reference.modelFile.architecture.vocab !== candidate.modelFile.architecture.vocab) {
      throw new NibbleError(
        'invalid_request',
        { message: 'The reference has another vocabulary.' },
        { param: 'reference' },
      );
    }
    const windows = windowsOf(tokens, flags.window).slice(0, flags.windows);
    progress.start('agreement', windows.length);
    const measured = await measureAgreement(reference, candidate, windows, flags.protocol, (done) =>
      progress.update(done),
    );
    progress.stop();
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
