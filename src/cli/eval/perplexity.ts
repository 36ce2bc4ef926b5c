/** `nibble eval perplexity`: how well a model predicts a text. */
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { activationsOf, kvOf } from '../../model/recipe.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import { openForEval, scoreSequence } from './session.js';
import { firstScoredRow, LossMeter, type Perplexity, type Protocol, protocols, windowsOf } from './windows.js';

type PerplexityFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  /** False with --no-kv-rotation. */
  readonly kvRotation: boolean;
  readonly json?: boolean;
};

/**
 * Perplexity over whole windows. `onWindow` gets the number of windows done and the perplexity so far.
 */
export async function measurePerplexity(
  model: OpenedModel['nativeModel'],
  windows: readonly Int32Array[],
  protocol: Protocol,
  onWindow: (done: number, sofar: Perplexity) => void = () => {},
): Promise<Perplexity> {
  const meter = new LossMeter();
  for (const [index, tokens] of windows.entries()) {
    const first = firstScoredRow(tokens.length, protocol);
    for await (const { rows, result } of scoreSequence(model, tokens, first, { wantLogprobs: true })) {
      for (let row = 0; row < rows; ++row) meter.add(-(result.logprobs[row] ?? Number.NaN));
    }
    onWindow(index + 1, meter.result());
  }
  return meter.result();
}

export function parseProtocol(text: string): Protocol {
  const found = protocols.find((protocol) => protocol === text);
  if (found === undefined) throw new InvalidArgumentError(`must be one of: ${protocols.join(', ')}.`);
  return found;
}

async function perplexity(flags: PerplexityFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const opened = await openForEval(config, flags.window, { kvRotates: flags.kvRotation });
  const progress = createProgress();
  try {
    const tokens = await readTokens(flags.data, opened.tokenizer, flags.window);
    const windows = windowsOf(tokens, flags.window).slice(0, flags.windows);
    progress.start('perplexity', windows.length);
    const start = performance.now();
    const measured = await measurePerplexity(opened.nativeModel, windows, flags.protocol, (done, sofar) =>
      progress.update(done, `${sofar.perplexity.toFixed(4)} ± ${sofar.standardError.toFixed(4)}`),
    );
    // Speed counts what went through the model, scored or not.
    const tokensPerS = (windows.length * flags.window * 1e3) / (performance.now() - start);
    progress.stop();
    if (flags.json === true) {
      const { level, threads } = opened.nativeModel.info;
      const { window: windowTokens, protocol } = flags;
      return await printJsonResult(
        { machine: machineOf(loadAddon().cpuInfo(), { isa: level, threads }), model: opened.modelFile.id },
        {
          ...{ perplexity: significant(measured.perplexity, 8), standardError: significant(measured.standardError) },
          ...{ tokens: measured.tokens, tokensPerS: significant(tokensPerS) },
          ...{ windows: windows.length, windowTokens, protocol, kv: kvOf(opened.modelFile, config.kv) },
          activations: activationsOf(opened.modelFile, config.activations),
          kvRotation: flags.kvRotation,
        },
      );
    }
    const { perplexity: value, standardError } = measured;
    const speed = `${measured.tokens} tokens scored, ${tokensPerS.toFixed(0)} tokens/s`;
    await writeStdout(`perplexity ${value.toFixed(4)} ± ${standardError.toFixed(4)} (${speed})\n`);
  } finally {
    progress.stop();
    await opened.close();
  }
}

export function registerPerplexity(parent: Command): void {
  const command = parent
    .command('perplexity')
    .description('Perplexity of a model on a text file.')
    .requiredOption('--data <file>', 'text file')
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(4, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--no-kv-rotation', "don't rotate what --kv keeps in 4 bits, to show what rotation gives")
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(perplexity);
}
