/** `nibble quantize`: a model file and a recipe to a quantized model file. */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig, type SettingKey } from '../config.js';
import { KV_BLOCK_TOKENS } from '../limits.js';
import { layerClasses } from '../model/recipe-types.js';
import { resolveModel } from '../model/sources/resolve.js';
import { namedRecipes } from '../quant/named-recipes.js';
import { type OpenSource, type Phase, type Quantized, quantize } from '../quant/quantize.js';
import { resolveRecipe } from '../quant/recipe.js';
import { type AutoFormat, autoFormats } from '../quant/sensitivity.js';
import { createProgress } from './bench/progress.js';
import { significant } from './bench/statistics.js';
import { formatTable } from './bench/table.js';
import { openOptions } from './open-options.js';
import { packageVersion, writeStdout } from './output.js';
import type { Budget } from './quantize-auto.js';
import { addSettingOptions } from './settings.js';

const settings: readonly SettingKey[] = ['model', 'threads', 'offline', 'home'];

type QuantizeFlags = Readonly<Record<string, unknown>> & {
  readonly recipe?: string;
  readonly out?: string;
  readonly calibration?: string;
  readonly set: readonly string[];
  readonly resume?: boolean;
  readonly list?: boolean;
  readonly auto?: boolean;
  readonly maxKl?: number;
  readonly size?: number;
  readonly speed?: number;
  readonly sensitivity?: string;
  readonly formats: readonly AutoFormat[];
};

/** Opens the source as calibration needs it: nothing is stored of it, and it is nobody's server. */
export function sourceOpener(config: Config, model: string): OpenSource {
  return async ({ activations, sequences, tokens, model: other }) => {
    const { openModel } = await import('../engine/open.js');
    const kvTokens = sequences * Math.ceil(tokens / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;
    const room = { contextTokens: tokens, kvTokens, maxSequences: sequences, packCacheBytes: 0 };
    return openModel({ ...openOptions(config), model: other ?? model, activations, kv: 'f16', ...room });
  };
}

/** Progress of several phases, each with its own length. */
export function phaseProgress() {
  const progress = createProgress();
  let current: Phase | null = null;
  return {
    update(phase: Phase, done: number, total: number, note = ''): void {
      // A pass over the windows that begins again is a phase of its own.
      if (phase !== current || done < 1) progress.start(phase, total);
      current = phase;
      progress.update(done, note);
    },
    stop: () => progress.stop(),
  };
}

async function listRecipes(): Promise<void> {
  const rows = [...namedRecipes].map(([name, { recipe, about }]) => {
    const { weights, activations } = recipe.classes.down;
    return [name, `${weights} × ${activations}`, about];
  });
  await writeStdout(formatTable(['recipe', 'down', ''], rows));
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What was made: sizes, what differs from the recipe asked for, the share of the outputs' squares that is lost. */
function describe(out: string, { plan, bytes, sourceBytes, errors }: Quantized): string {
  const megabytes = (count: number) => `${(count / 1e6).toFixed(1)} MB`;
  const lost = layerClasses.flatMap((name) => {
    const values = errors.flatMap((layer) => (layer[name] === undefined ? [] : [layer[name]]));
    return values.length === 0 ? [] : [`${name} ${significant(100 * mean(values), 3)} %`];
  });
  const blocks = errors.filter(({ blockBefore = 0 }) => blockBefore > 0);
  const block = (when: 'blockBefore' | 'blockAfter') =>
    `${significant(100 * mean(blocks.map((layer) => layer[when] ?? 0)), 3)} %`;
  const learned = blocks.length === 0 ? '' : `error of blocks: ${block('blockBefore')} → ${block('blockAfter')}\n`;
  const notes = plan.notes.map((note) => `note: ${note}\n`).join('');
  const loss = lost.length === 0 ? '' : `squared error of the outputs: ${lost.join(', ')}\n`;
  return `${notes}${loss}${learned}${out}: ${plan.recipe.name}, ${megabytes(bytes)} (source: ${megabytes(sourceBytes)})\n`;
}

/** The budget of `--auto`; null without it. */
function readBudget({ auto, maxKl, size, speed }: QuantizeFlags, command: Command): Budget | null {
  const given: Budget[] = [
    ...(maxKl === undefined ? [] : [{ kind: 'kl' as const, most: maxKl }]),
    ...(size === undefined ? [] : [{ kind: 'bytes' as const, most: size * 1e6 }]),
    ...(speed === undefined ? [] : [{ kind: 'ns' as const, most: 1e9 / speed }]),
  ];
  const [budget] = given;
  if (auto !== true && budget === undefined) return null;
  if (auto === true && budget !== undefined && given.length === 1) return budget;
  return command.error('error: --auto goes with one of --max-kl, --size and --speed');
}

async function run(flags: QuantizeFlags, command: Command): Promise<void> {
  if (flags.list === true) return listRecipes();
  if (flags.recipe === undefined && flags.auto !== true)
    command.error("error: required option '--recipe <name or file>' not specified");
  if (flags.out === undefined) command.error("error: required option '--out <file>' not specified");
  const config = loadConfig(flags, process.env);
  const budget = readBudget(flags, command);
  const recipe = await resolveRecipe(flags.recipe ?? 'w4a8', flags.set);
  const out = resolve(flags.out ?? '');
  const model = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const progress = phaseProgress();
  try {
    const options = {
      ...{ model, recipe, out, calibration: flags.calibration ?? null, resume: flags.resume === true },
      ...{ open: sourceOpener(config, model), toolVersion: packageVersion(), signal: abort.signal },
      onProgress: progress.update,
    };
    const sensitivity = resolve(flags.sensitivity ?? `${out}.sensitivity.json`);
    const quantized = await (budget === null
      ? quantize(options)
      : (await import('./quantize-auto.js')).quantizeAuto({
          ...{ ...options, budget, sensitivity, formats: flags.formats },
          print: writeStdout,
        }));
    progress.stop();
    await writeStdout(describe(out, quantized));
  } finally {
    progress.stop();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('must be a number above 0.');
  return value;
}

function parseFormats(text: string): readonly AutoFormat[] {
  return text.split(',').map((name) => {
    const found = autoFormats.find((format) => format === name);
    if (found === undefined) throw new InvalidArgumentError(`must be some of: ${autoFormats.join(', ')}.`);
    return found;
  });
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Adds `nibble quantize`. */
export function registerQuantize(program: Command): void {
  const command = program
    .command('quantize')
    .description('Quantize a model by a recipe and write it as a GGUF file (docs/quantization.md).')
    .option('--recipe <name or file>', 'a named recipe, or a JSON file')
    .option('--out <file>', 'the GGUF file to write; it must not exist')
    .option('--calibration <file>', 'text to measure the model on (default: the model writes its own)')
    .option('--set <key=value>', 'changes the recipe, such as classes.down.weights=w8g32; may be repeated', collect, [])
    .option('--resume', 'go on where a run that was interrupted stopped')
    .option('--auto', 'choose the formats of each layer within one of the budgets that follow')
    .option('--max-kl <nats>', 'mean KL divergence from the source in float', positive)
    .option('--size <megabytes>', 'size of the tensors', positive)
    .option('--speed <tokens>', 'tokens/s of decode if only the matrices of the layers took time', positive)
    .option('--formats <names>', `what --auto chooses from: ${autoFormats.join(', ')}`, parseFormats, autoFormats)
    .option('--sensitivity <file>', 'what --auto measured of the model, kept (default: OUT.sensitivity.json)')
    .option('--list', 'list the named recipes instead');
  addSettingOptions(command, settings).action((flags: QuantizeFlags) => run(flags, command));
}
