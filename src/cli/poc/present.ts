/** A proof of concept as a table for people and as JSON. */
import { significant } from '../bench/statistics.js';
import { formatTable, percent } from '../bench/table.js';
import { describePlan, describePlanJson } from '../tco/present.js';
import type { Poc, PocModel } from './result.js';

/** Small sums have more digits than cents. */
const price = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export const pocHeads = (currency: string): readonly string[] => [
  ...['model', 'MB', 'KL mean', 'same top', 'same answers', 'right', 'TTFT p50/p95, ms', 'ITL p50/p95, ms'],
  ...['requests/s', 'tokens/s', 'J/1,000 requests', `${currency}/1,000 requests`],
];

export function pocRow({ measured, quality, exactMatch, ...model }: PocModel): string[] {
  const { ttftMs, itlMs, requestsPerS, outputTokensPerS, joulesPerRequest } = measured;
  const pair = ({ p50, p95 }: { readonly p50: number; readonly p95: number }, digits: number) =>
    `${p50.toFixed(digits)} / ${p95.toFixed(digits)}`;
  const { energy, hardware } = model.pricePerThousand;
  return [
    ...[model.name, (model.fileBytes / 1e6).toFixed(1), quality?.agreement.klMean.toFixed(4) ?? '–'],
    ...[
      quality === null ? '–' : percent(quality.agreement.sameTop),
      quality === null ? '–' : percent(quality.texts.sameAnswers),
    ],
    ...[exactMatch === null ? '–' : `${exactMatch.right} of ${exactMatch.prompts}`, pair(ttftMs, 0), pair(itlMs, 1)],
    ...[requestsPerS.toPrecision(3), outputTokensPerS.toFixed(0)],
    ...[joulesPerRequest === null ? '–' : (1000 * joulesPerRequest).toFixed(0), price(energy + hardware)],
  ];
}

export function recommendationText({ recommendation }: Pick<Poc, 'recommendation'>): string {
  const { name, reasons } = recommendation;
  return `${name === null ? 'No recommendation' : `Recommended: ${name}`}: ${reasons.join('; ')}.`;
}

export function objectionLines({ recommendation }: Pick<Poc, 'recommendation'>): string[] {
  return recommendation.verdicts.flatMap(({ name, objections }) => {
    return objections.length === 0 ? [] : [`${name}: ${objections.join('; ')}.`];
  });
}

export function describePoc(poc: Poc): string {
  const table = formatTable(pocHeads(poc.plan.scenario.currency), poc.models.map(pocRow));
  const lines = [recommendationText(poc), ...objectionLines(poc)].map((line) => `${line}\n`);
  const { energy } = poc;
  const meter = energy === null ? '' : `; energy: ${energy.source} (${energy.meter})`;
  return `${poc.prompts.length} prompts, ${poc.streams} at a time${meter}\n${table}${lines.join('')}\n${describePlan(poc.plan)}`;
}

const pair = ({ p50, p95 }: { readonly p50: number; readonly p95: number }) => {
  return { p50: significant(p50), p95: significant(p95) };
};

function describeModel({ measured, quality, exactMatch, pricePerThousand, ...model }: PocModel) {
  const { joulesPerRequest } = measured;
  const agreement = quality?.agreement;
  return {
    ...{ name: model.name, isBaseline: model.isBaseline, file: model.file, fileBytes: model.fileBytes },
    quality:
      quality === null || agreement === undefined
        ? null
        : {
            ...{ klMean: significant(agreement.klMean), klError: significant(agreement.klError) },
            ...{ klP99: significant(agreement.klP99), sameTop: significant(agreement.sameTop, 6) },
            ...{ ratio: significant(agreement.ratio, 6), ratioError: significant(agreement.ratioError) },
            ...{ tokens: agreement.candidate.tokens, sameAnswers: significant(quality.texts.sameAnswers) },
          },
    exactMatch,
    ...{ ttftMs: pair(measured.ttftMs), itlMs: pair(measured.itlMs) },
    requestsPerS: significant(measured.requestsPerS),
    outputTokensPerS: significant(measured.outputTokensPerS),
    joulesPerThousand: joulesPerRequest === null ? null : significant(1000 * joulesPerRequest),
    pricePerThousand: {
      energy: significant(pricePerThousand.energy),
      hardware: significant(pricePerThousand.hardware),
      carbonGrams: significant(pricePerThousand.carbonGrams),
    },
  };
}

/** The fields of docs/schemas/poc.json, but for those of every result; `nibble tco --measured` reads `recipes`. */
export function describePocJson(poc: Poc) {
  const { data, prompts, streams, klMax, energy, models, recommendation, plan } = poc;
  const { name, reasons, verdicts } = recommendation;
  return {
    ...{ data, prompts: prompts.length, streams, klMax, energy },
    ...{ recommended: name, reasons, verdicts, models: models.map(describeModel) },
    recipes: models.map(({ measured: { figures } }) => ({
      ...figures,
      prefillTokensPerS: significant(figures.prefillTokensPerS),
      decodeTokensPerS: significant(figures.decodeTokensPerS),
      joulesPerPromptToken: significant(figures.joulesPerPromptToken),
      joulesPerOutputToken: significant(figures.joulesPerOutputToken),
    })),
    plan: describePlanJson(plan),
  };
}
