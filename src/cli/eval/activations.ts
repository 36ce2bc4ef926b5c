/**
 * `nibble eval activations`: perplexity with the inputs of all linear layers rounded as a quantizer would, weights as
 * they are. What a format of activations costs, before there is a kernel or a file for it.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { type InputRule, LINEAR_INPUTS, type LinearInput } from '../../native/input-study.js';
import { loadAddon } from '../../native/load.js';
import { type ChannelRanges, planTender } from '../../quant/tender/plan.js';
import { channelRule, smoothRule, tenderRule, tensorRule, tokenTenderRule } from '../../quant/tender/schemes.js';
import { isCentred, type LayerInput, layerInputs, recordRanges, setRules } from '../../quant/tender/study.js';
import { weightPeaks } from '../../quant/tender/weight-peaks.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { significant } from '../bench/statistics.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import { measurePerplexity, parseProtocol } from './perplexity.js';
import { openForEval, scoreSequence } from './session.js';
import { type Protocol, windowsOf } from './windows.js';

const schemes = [
  'none',
  'tensor',
  'token',
  'channel',
  'smooth',
  'tender-up',
  'tender-down',
  'tender-dynamic',
  'tender-token-up',
  'tender-token-down',
] as const;
export type Scheme = (typeof schemes)[number];

type ActivationFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly calibration?: string;
  readonly calibrationWindows: number;
  readonly schemes: readonly Scheme[];
  readonly bits: number;
  readonly groups: readonly number[];
  readonly inputs: readonly LinearInput[];
  readonly unit: number;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly json?: boolean;
};

type Row = {
  readonly scheme: Scheme;
  readonly bits: number;
  readonly groups: number | null;
  readonly perplexity: number;
  readonly standardError: number;
};

const calibrated = (scheme: Scheme) => !['none', 'token', 'tender-dynamic'].includes(scheme);

/** What every input gets under a scheme; `ranges` by input. */
function ruleOf(
  scheme: Scheme,
  { limit, groups, unit }: { readonly limit: number; readonly groups: number; readonly unit: number },
  data: { readonly ranges: readonly ChannelRanges[]; readonly peaks: () => readonly Float32Array[] },
): (input: LayerInput, id: number) => InputRule | null {
  return ({ input }, id) => {
    const ranges = data.ranges[id] ?? { inputs: 0, values: new Float32Array(0) };
    const centred = isCentred(input);
    switch (scheme) {
      case 'none':
        return null;
      case 'tensor':
        return tensorRule(ranges, limit);
      case 'token':
        return { kind: 'token', limit };
      case 'channel':
        return channelRule(ranges, limit);
      case 'smooth':
        return smoothRule(ranges, limit, data.peaks()[id] ?? new Float32Array(0));
      case 'tender-up':
      case 'tender-down':
      case 'tender-token-up':
      case 'tender-token-down': {
        const rounding = scheme.endsWith('up') ? 'up' : 'down';
        const plan = planTender(ranges, { groups, limit, unit, centred, rounding });
        return scheme.startsWith('tender-token') ? tokenTenderRule(plan, limit) : tenderRule(plan, limit);
      }
      case 'tender-dynamic':
        return { kind: 'window', limit, groups, centred };
    }
  };
}

async function calibrate(opened: OpenedModel, flags: ActivationFlags): Promise<readonly ChannelRanges[]> {
  if (!flags.schemes.some(calibrated)) return [];
  if (flags.calibration === undefined) {
    throw new NibbleError('invalid_request', {
      message: '--calibration: a text is needed for schemes with fixed steps.',
    });
  }
  const tokens = await readTokens(flags.calibration, opened.tokenizer, flags.window);
  const windows = windowsOf(tokens, flags.window).slice(0, flags.calibrationWindows);
  return recordRanges(opened.nativeModel, layerInputs(opened.modelFile.architecture), async () => {
    for (const window of windows) {
      for await (const _ of scoreSequence(opened.nativeModel, window, window.length - 2, {}));
    }
  });
}

async function* measureAll(opened: OpenedModel, flags: ActivationFlags): AsyncGenerator<Row, void, undefined> {
  const { nativeModel, modelFile, tokenizer } = opened;
  const inputs = layerInputs(modelFile.architecture);
  const ranges = await calibrate(opened, flags);
  let found: readonly Float32Array[] | undefined;
  const peaks = () => {
    found ??= weightPeaks(modelFile);
    return found;
  };
  const windows = windowsOf(await readTokens(flags.data, tokenizer, flags.window), flags.window).slice(
    0,
    flags.windows,
  );
  const limit = 2 ** (flags.bits - 1) - 1;
  const runs = flags.schemes.flatMap((scheme) =>
    (scheme.startsWith('tender') ? flags.groups : [null]).map((groups) => ({ scheme, groups })),
  );
  for (const { scheme, groups } of runs) {
    const rule = ruleOf(scheme, { limit, groups: groups ?? 1, unit: flags.unit }, { ranges, peaks });
    setRules(nativeModel, inputs, (input, id) => (flags.inputs.includes(input.input) ? rule(input, id) : null));
    const { perplexity, standardError } = await measurePerplexity(nativeModel, windows, flags.protocol);
    yield { scheme, bits: flags.bits, groups, perplexity, standardError };
  }
}

const textOf = ({ scheme, bits, groups, perplexity, standardError }: Row) => {
  const name = `${scheme}${groups === null ? '' : ` G=${groups}`}`;
  return `${name.padEnd(22)} ${bits} bits  ${perplexity.toFixed(4)} ± ${standardError.toFixed(4)}\n`;
};

async function activations(flags: ActivationFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const opened = await openForEval(config, flags.window, { activations: 'f32' });
  try {
    const rows: Row[] = [];
    for await (const row of measureAll(opened, flags)) {
      rows.push(row);
      if (flags.json !== true) await writeStdout(textOf(row));
    }
    if (flags.json === true) {
      const { level, threads } = opened.nativeModel.info;
      const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
      const exact = rows.map((row) => ({
        ...row,
        perplexity: significant(row.perplexity, 8),
        standardError: significant(row.standardError),
      }));
      await printJsonResult(
        { machine, model: opened.modelFile.id },
        { runs: exact, windowTokens: flags.window, protocol: flags.protocol },
      );
    }
  } finally {
    await opened.close();
  }
}

function parseSchemes(text: string): readonly Scheme[] {
  return text.split(',').map((name) => {
    const found = schemes.find((scheme) => scheme === name);
    if (found === undefined) throw new InvalidArgumentError(`must be some of: ${schemes.join(', ')}.`);
    return found;
  });
}

function parseInputs(text: string): readonly LinearInput[] {
  return text.split(',').map((name) => {
    const found = LINEAR_INPUTS.find((input) => input === name);
    if (found === undefined) throw new InvalidArgumentError(`must be some of: ${LINEAR_INPUTS.join(', ')}.`);
    return found;
  });
}

const parseGroups = (text: string): readonly number[] => text.split(',').map((part) => integerIn(1, 24)(part));

export function registerActivations(parent: Command): void {
  const command = parent
    .command('activations')
    .description('Perplexity with activations rounded as by Tender, or as it is compared with; weights as they are.')
    .requiredOption('--data <file>', 'text file')
    .option('--calibration <file>', 'text for schemes whose steps are known beforehand')
    .option('--calibration-windows <count>', 'windows of it', integerIn(1, 1_000_000), 32)
    .option('--schemes <names>', schemes.join(', '), parseSchemes, ['none', 'token', 'tender-up'] as readonly Scheme[])
    .option('--bits <count>', 'of a code', integerIn(2, 8), 8)
    .option('--groups <counts>', "Tender's groups", parseGroups, [8])
    .option('--inputs <names>', `round only: ${LINEAR_INPUTS.join(', ')}`, parseInputs, LINEAR_INPUTS)
    .option('--unit <channels>', 'of which groups hold multiples', integerIn(1, 32), 4)
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(4, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'second-half')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(activations);
}
