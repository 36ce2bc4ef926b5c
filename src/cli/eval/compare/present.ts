/** A comparison as a table for people and as JSON. */
import { significant } from '../../bench/statistics.js';
import { formatTable, percent } from '../../bench/table.js';
import type { ComparedModel, Comparison } from './result.js';

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
const withError = (value: number, error: number, digits: number): string =>
  `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;

export const tableHeads = [
  ...['model', 'perplexity', '÷ reference', 'KL mean', 'KL p99', 'same top', 'greedy tokens', 'MB'],
  ...['prefill 512', 'prefill 2048', 'decode', 'J/token'],
] as const;

/** One row per model, the reference first; a dash for what it doesn't have. */
export function tableRows({ reference, candidates }: Comparison): string[][] {
  const speeds = ({ speed }: ComparedModel) => [
    ...[speed?.prefill512, speed?.prefill2048, speed?.decode].map((value) => value?.median.toFixed(0) ?? '–'),
    speed?.joulesPerToken?.toPrecision(3) ?? '–',
  ];
  const first = [
    ...[reference.name, withError(reference.perplexity, reference.standardError, 3), '–', '–', '–', '–', '–'],
    ...[megabytes(reference.fileBytes), ...speeds(reference)],
  ];
  const others = candidates.map((model) => {
    const { agreement, greedyTokens } = model.quality;
    return [
      model.name,
      withError(agreement.candidate.perplexity, agreement.candidate.standardError, 3),
      withError(agreement.ratio, agreement.ratioError, 4),
      withError(agreement.klMean, agreement.klError, 4),
      agreement.klP99.toFixed(3),
      percent(agreement.sameTop),
      String(greedyTokens.median),
      megabytes(model.fileBytes),
      ...speeds(model),
    ];
  });
  return [first, ...others];
}

export function describeTable(comparison: Comparison): string {
  const { reference, windows, windowTokens, candidates } = comparison;
  const tokens = candidates[0]?.quality.agreement.candidate.tokens ?? 0;
  const scored = `${tokens} tokens of ${windows} windows of ${windowTokens}`;
  const head = `reference: ${reference.name}, f32 activations; ${scored}\n`;
  return head + formatTable(tableHeads, tableRows(comparison));
}

/** The fields of docs/schemas/eval-compare.json, but for those of every result. */
export function describeComparison(comparison: Comparison): Readonly<Record<string, unknown>> {
  const { reference, candidates, data, windows, windowTokens, protocol, rounds, energy } = comparison;
  const common = ({ name, fileBytes, speed }: ComparedModel) => ({ name, fileBytes, speed });
  return {
    ...{ data, windows, windowTokens, protocol, rounds, energy },
    reference: {
      ...common(reference),
      perplexity: significant(reference.perplexity, 8),
      standardError: significant(reference.standardError),
    },
    candidates: candidates.map(({ quality, ...model }) => ({
      ...common({ ...model, quality }),
      packedBytes: quality.packedBytes,
      perplexity: significant(quality.agreement.candidate.perplexity, 8),
      standardError: significant(quality.agreement.candidate.standardError),
      ratio: significant(quality.agreement.ratio, 6),
      ratioError: significant(quality.agreement.ratioError),
      klMean: significant(quality.agreement.klMean),
      klError: significant(quality.agreement.klError),
      klP99: significant(quality.agreement.klP99),
      sameTop: significant(quality.agreement.sameTop, 6),
      tokens: quality.agreement.candidate.tokens,
      greedyTokens: quality.greedyTokens,
      layerErrors: quality.layerErrors?.map((error) => significant(error)) ?? null,
    })),
  };
}
