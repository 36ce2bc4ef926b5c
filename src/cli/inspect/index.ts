/** `nibble inspect`: what a model file holds, how it is computed, where it comes from, where its outliers are. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import { chooseLookups } from '../../engine/lookups.js';
import { readModelFile } from '../../model/gguf.js';
import { resolveModel } from '../../model/sources/resolve.js';
import type { ModelFile } from '../../model/types.js';
import { LAYER_INPUTS } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import type { Statistics } from '../../quant/calibrate.js';
import { readStatistics } from '../../quant/statistics-file.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';
import { writeStdout } from '../output.js';
import { printable } from '../printable.js';
import { formatRows } from './describe.js';
import { bars, findOutliers, OUTLIER_FACTOR } from './outliers.js';

type InspectFlags = {
  readonly statistics?: string;
  readonly recipe?: boolean;
  readonly json?: boolean;
  readonly offline?: boolean;
  readonly home?: string;
};

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

function headLines({ path, fileBytes, architectureName, architecture, nibble }: ModelFile): string {
  const { layers, hidden, heads, kvHeads, ffn, vocab, contextLength } = architecture;
  const shape = `${layers} layers, width ${hidden}, heads ${heads}/${kvHeads}, feed-forward ${ffn}`;
  const head = `${path}\n${megabytes(fileBytes)}, ${architectureName}: ${shape}, vocabulary ${vocab}, context ${contextLength}\n`;
  if (nibble === null) return `${head}not quantized by Nibble: activations a8 unless --activations says otherwise\n`;
  const { recipe, provenance, formatVersion } = nibble;
  const { rounding, clip, scaling, calibration } = recipe;
  const method = `rounding ${rounding}, clip ${clip}, scaling ${scaling}`;
  const text = provenance.calibrationSha256;
  const calibrated =
    text === null
      ? 'no calibration'
      : `calibrated on ${calibration.tokens} tokens (${calibration.source}, sha256 ${text})`;
  return (
    `${head}recipe ${recipe.name}: ${method} (format version ${formatVersion})\n` +
    `made by nibble ${provenance.toolVersion} from sha256 ${provenance.sourceSha256}\n` +
    `${calibrated}, seed ${provenance.seed}\n`
  );
}

/** Which kernels a model with bit planes takes here; nothing for others. */
async function lookupLine(file: ModelFile, home: string | null): Promise<string> {
  const kernels = formatRows(file).map((row) => row.kernels);
  if (!kernels.some((name) => /^(lut-|ternary)/.test(name))) return '';
  const { lookups, from } = await chooseLookups(null, home, loadAddon().cpuInfo());
  const tokens = Object.entries(lookups).map(([bits, count]) => `${bits} ${count}`);
  const why = from === 'tuning' ? 'measured by nibble tune' : 'by default; nibble tune measures it';
  return `bit planes are looked up for steps of at most so many tokens: ${tokens.join(', ')} (${why})\n`;
}

function formatsTable(file: ModelFile): string {
  const rows = formatRows(file).map((row) => {
    const { matrixClass, layers, tensors, type, activations, kernels, bytes, bitsPerWeight } = row;
    return [matrixClass, layers, tensors, type, bitsPerWeight.toFixed(2), activations, kernels, megabytes(bytes)];
  });
  return formatTable(['class', 'layers', 'tensors', 'format', 'bits', 'activations', 'kernels', 'bytes'], rows);
}

/** Inputs of all layers, and which channels stand out. */
function outlierRows({ layers }: Statistics) {
  return layers.flatMap((inputs, layer) =>
    LAYER_INPUTS.map((input) => ({ layer, input, channels: inputs[input].inputs, ...findOutliers(inputs[input]) })),
  );
}

function outliersTable(statistics: Statistics): string {
  const rows = outlierRows(statistics).map(({ layer, input, channels, max, median, outliers, top, profile }) => {
    const ratio = median === 0 ? Number.NaN : max / median;
    return [layer, input, channels, max, median, ratio, outliers, top.join(' '), bars(profile)];
  });
  const heads = ['layer', 'input', 'channels', 'max', 'median', 'max/median', `> ${OUTLIER_FACTOR}×`, 'largest', ''];
  const note = `largest magnitudes of the channels over ${statistics.tokens} tokens; bars: largest to smallest channel, halved each step`;
  return `${formatTable([...heads.slice(0, -1), 'profile'], rows)}${note}\n`;
}

async function inspect(name: string, flags: InspectFlags): Promise<void> {
  const { offline, home } = loadConfig(flags, process.env);
  const path = await resolveModel(name, { offline, home });
  const file = await readModelFile(path);
  const statistics = flags.statistics === undefined ? null : await readStatistics(flags.statistics);
  const recipe = file.nibble?.recipe ?? null;
  if (flags.json === true) {
    const { fileBytes: bytes, architectureName: architecture, nibble } = file;
    const outliers =
      statistics === null ? {} : { statistics: { tokens: statistics.tokens, inputs: outlierRows(statistics) } };
    const provenance = nibble === null ? null : { ...nibble.provenance, seed: String(nibble.provenance.seed) };
    const formats = formatRows(file).map((row) => ({ ...row, bitsPerWeight: significant(row.bitsPerWeight) }));
    const version = nibble?.formatVersion ?? null;
    const result = { path, bytes, architecture, formatVersion: version, recipe, provenance, formats, ...outliers };
    return writeStdout(`${JSON.stringify(result)}\n`);
  }
  if (flags.recipe === true) return writeStdout(recipe === null ? 'null\n' : `${JSON.stringify(recipe, null, 2)}\n`);
  const plots = statistics === null ? '' : `\n${outliersTable(statistics)}`;
  const lookups = await lookupLine(file, home);
  await writeStdout(printable(`${headLines(file)}\n${formatsTable(file)}${lookups}${plots}`));
}

/** Adds `nibble inspect`. */
export function registerInspect(program: Command): void {
  program
    .command('inspect')
    .description('Show what a model file holds: formats, kernels, recipe, provenance, and outliers of its activations.')
    .argument('[model]', 'a path or a known name', 'default')
    .option('--statistics <file>', 'what `nibble calibrate` wrote: where are the outliers?')
    .option('--recipe', 'print only the recipe, as JSON')
    .option('--json', 'print one JSON object')
    .option('--offline', 'use the cache only')
    .option('--home <folder>', "Nibble's folder (default: $NIBBLE_HOME, else the user's cache)")
    .action(inspect);
}
