/** An exploration as tables, CSV and JSON. */
import { type Evaluation, joulesOf, throughputOf } from '../../cost/accelerators/types.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';
import type { Exploration, ExploredRecipe, FrontPoint, KnownDesign } from './result.js';

const errorOf = ({ recipes }: Exploration, name: string): number =>
  recipes.find(({ recipe }) => recipe.name === name)?.fidelity.klMean ?? Number.NaN;

export const designHeads = [
  ...['element', 'recipe', 'array', 'buffers KiB (W/A/O)', 'memory GB/s', 'clock MHz'],
  ...['seconds', 'joules', 'mm²', 'KL, nats', 'GMAC/s per W', 'per mm²'],
  ...['of joules: MAC', 'SRAM', 'DRAM', 'static'],
] as const;

/** 10⁹ multiply-accumulates a second per watt and per mm², and the parts of the energy. */
function yieldCells(evaluation: Evaluation): readonly string[] {
  const { mac, sram, dram, static: idle } = evaluation.energy;
  const { macsPerJoule, macsPerSecondMm2 } = throughputOf(evaluation);
  const parts = [mac, sram, dram, idle].map((part) => `${((100 * part) / joulesOf(evaluation.energy)).toFixed(0)} %`);
  return [...[macsPerJoule, macsPerSecondMm2].map((value) => String(significant(value / 1e9, 3))), ...parts];
}

/** Cells of a design, under `designHeads`. */
export function designCells(exploration: Exploration, { choice, evaluation }: FrontPoint): string[] {
  const { rows, columns, weightBufferKiB, activationBufferKiB, outputBufferKiB, memoryGBs, clockMHz } = choice;
  const { seconds, energy, areaMm2 } = evaluation;
  return [
    ...[choice.element, choice.recipe, `${rows} × ${columns}`],
    ...[`${weightBufferKiB}/${activationBufferKiB}/${outputBufferKiB}`, String(memoryGBs), String(clockMHz)],
    ...[seconds, joulesOf(energy), areaMm2, errorOf(exploration, choice.recipe)].map((value) => value.toPrecision(3)),
    ...yieldCells(evaluation),
  ];
}

export const knownHeads = [
  ...['accelerator', 'bits W/A', 'seconds', 'joules', 'mm²', 'GMAC/s per W', 'per mm²'],
  ...['of joules: MAC', 'SRAM', 'DRAM', 'static'],
] as const;

export function knownCells({ about, weightBits, activationBits, evaluation }: KnownDesign): string[] {
  const { seconds, energy, areaMm2 } = evaluation;
  const amounts = [seconds, joulesOf(energy), areaMm2].map((value) => value.toPrecision(3));
  return [about, `${weightBits}/${activationBits}`, ...amounts, ...yieldCells(evaluation)];
}

export const recipeHeads = [
  ...['recipe', 'KL, nats', 'perplexity ÷ float', 'MB', 'designs on the front'],
  ...['CPU prefill tokens/s', 'CPU decode tokens/s', 'CPU seconds', 'at least, by roofline', 'CPU joules'],
] as const;

export function recipeCells({ recipe, fidelity, frontPoints, cpu, rooflineSeconds }: ExploredRecipe): string[] {
  return [
    ...[recipe.name, `${fidelity.klMean.toPrecision(3)} ± ${fidelity.klError.toPrecision(2)}`],
    ...[fidelity.ratio.toFixed(4), (fidelity.fileBytes / 1e6).toFixed(1), String(frontPoints)],
    ...(cpu === null
      ? ['–', '–', '–', '–', '–']
      : [
          ...[cpu.prefillTokensPerS.toFixed(0), cpu.decodeTokensPerS.toFixed(0), cpu.seconds.toPrecision(3)],
          ...[rooflineSeconds?.toPrecision(3) ?? '–', cpu.joules?.toPrecision(3) ?? '–'],
        ]),
  ];
}

const SHOWN = 12;

export function describeText(exploration: Exploration): string {
  const { points, pointsPerMinute, frontPoints, front, known, recipes } = exploration;
  const step = Math.max(1, Math.ceil(front.length / SHOWN));
  const some = front.filter((_, i) => i % step === 0);
  const rate = `${(pointsPerMinute / 1e6).toPrecision(2)} million a minute`;
  return [
    `${points} simulated designs (${rate}), ${frontPoints} on the front; some of them:\n`,
    formatTable(
      designHeads,
      some.map((point) => designCells(exploration, point)),
    ),
    '\npublished accelerators as they are, simulated on the same workload:\n',
    formatTable(knownHeads, known.map(knownCells)),
    '\nrecipes, measured on the model and this machine:\n',
    formatTable(recipeHeads, recipes.map(recipeCells)),
  ].join('');
}

const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** The front as RFC 4180 has it. */
export function describeCsv(exploration: Exploration): string {
  const heads = [
    ...['element', 'recipe', 'rows', 'columns', 'weightBufferKiB', 'activationBufferKiB', 'outputBufferKiB'],
    ...['memoryGBs', 'clockMHz', 'seconds', 'joules', 'areaMm2', 'cycles', 'macJoules', 'sramJoules', 'dramJoules'],
    ...['staticJoules', 'macsPerJoule', 'macsPerSPerMm2', 'klMean'],
  ];
  const rows = exploration.front.map(({ choice, evaluation }) => {
    const { element, recipe, rows: down, columns, weightBufferKiB, activationBufferKiB, outputBufferKiB } = choice;
    const { mac, sram, dram, static: idle } = evaluation.energy;
    const { macsPerJoule, macsPerSecondMm2 } = throughputOf(evaluation);
    return [
      ...[element, recipe, down, columns, weightBufferKiB, activationBufferKiB, outputBufferKiB],
      ...[choice.memoryGBs, choice.clockMHz, evaluation.seconds, joulesOf(evaluation.energy), evaluation.areaMm2],
      ...[evaluation.cycles, mac, sram, dram, idle, macsPerJoule, macsPerSecondMm2],
      errorOf(exploration, recipe),
    ].map((value) => cell(String(typeof value === 'number' ? significant(value, 6) : value)));
  });
  return `${[heads, ...rows].map((row) => row.join(',')).join('\r\n')}\r\n`;
}

function evaluationFields(evaluation: Evaluation): Readonly<Record<string, unknown>> {
  const { seconds, cycles, energy, areaMm2, macs } = evaluation;
  const { macsPerJoule, macsPerSecondMm2 } = throughputOf(evaluation);
  const parts = Object.entries(energy).map(([part, joules]) => [part, significant(joules)]);
  return {
    ...{ seconds: significant(seconds), cycles: Math.round(cycles), macs: Math.round(macs) },
    ...{ joules: significant(joulesOf(energy)), energy: Object.fromEntries(parts), areaMm2: significant(areaMm2) },
    ...{ macsPerJoule: significant(macsPerJoule), macsPerSPerMm2: significant(macsPerSecondMm2) },
  };
}

/** The fields of docs/schemas/explore.json, but for those of every result. */
export function describeJson(exploration: Exploration): Readonly<Record<string, unknown>> {
  const { workload, shape, points, pointsPerMinute, frontPoints, front, known, recipes } = exploration;
  return {
    ...{ workload, shape, points, pointsPerMinute: significant(pointsPerMinute), frontPoints },
    front: front.map(({ choice, evaluation }) => {
      const klMean = significant(errorOf(exploration, choice.recipe));
      return { ...choice, ...evaluationFields(evaluation), klMean };
    }),
    known: known.map(({ evaluation, ...design }) => ({ ...design, ...evaluationFields(evaluation) })),
    recipes: recipes.map(({ recipe, fidelity, frontPoints: own, cpu, rooflineSeconds }) => {
      const { klMean, klError, ratio, fileBytes } = fidelity;
      const figures = { klMean: significant(klMean), klError: significant(klError), ratio: significant(ratio, 6) };
      return {
        name: recipe.name,
        ...figures,
        fileBytes,
        frontPoints: own,
        cpu: cpu === null ? null : { ...rounded(cpu), rooflineSeconds: significant(rooflineSeconds ?? 0) },
      };
    }),
  };
}

const rounded = ({
  prefillTokensPerS,
  decodeTokensPerS,
  seconds,
  joules,
  source,
}: NonNullable<ExploredRecipe['cpu']>) => ({
  prefillTokensPerS: significant(prefillTokensPerS),
  decodeTokensPerS: significant(decodeTokensPerS),
  seconds: significant(seconds),
  joules: joules === null ? null : significant(joules),
  source,
});
