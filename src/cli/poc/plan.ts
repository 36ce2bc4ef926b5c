/** The cost plan with what was measured: this box with each model. */
import type { Config } from '../../config.js';
import { priceOf } from '../../cost/price.js';
import { withSimulated } from '../../cost/tco/accelerated.js';
import { type Analyzed, analyze } from '../../cost/tco/analysis.js';
import type { Box, Scenario } from '../../cost/tco/scenario.js';
import { settleLikely } from '../../cost/tco/uncertain.js';
import { NibbleError } from '../../errors.js';
import { DRAWS, SEED } from '../tco/defaults.js';
import { examples } from '../tco/examples.js';
import type { Plan } from '../tco/present.js';
import { checkNames, readScenario } from '../tco/read-scenario.js';
import { withMeasured, withPrices } from '../tco/site.js';
import type { Measured } from './measure.js';
import type { Price } from './result.js';

export type PlanFlags = { readonly scenario?: string };

/** What is planned with if the user has no scenario. */
const EXAMPLE = 'small-factory';

const HOURS_PER_MONTH = (365.25 / 12) * 24;

const thisBox = ({ options }: Scenario): Box | null =>
  options.find((option): option is Box => option.kind === 'box' && option.isThisBox) ?? null;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** An example speaks of other prompts than these. */
function withTokens(scenario: Scenario, [first]: readonly Measured[]): Scenario {
  const answers = first?.answers ?? [];
  const promptTokens = mean(answers.map((answer) => answer.promptTokens));
  const outputTokens = Math.max(1, mean(answers.map(({ tokenIds }) => tokenIds.length)));
  return { ...scenario, workload: { ...scenario.workload, promptTokens, outputTokens } };
}

export type ChosenPlan = Plan & {
  /** Of the box that this machine stands for. */
  readonly boxName: string;
  outcomeOf(model: number): Analyzed;
};

async function chooseScenario({ scenario: path }: PlanFlags, measured: readonly Measured[] | null): Promise<Scenario> {
  if (path !== undefined) return readScenario(path);
  const example = examples[EXAMPLE];
  if (example === undefined) throw new NibbleError('internal', {});
  const scenario = withSimulated(example);
  return measured === null ? scenario : withTokens(scenario, measured);
}

/**
 * The scenario with the measured figures for this box. Before anything is measured (null) it only sees whether the
 * scenario is fit: throws `scenario_invalid`, `config_invalid`.
 */
export async function choosePlan(
  flags: PlanFlags,
  { prices }: Pick<Config, 'prices'>,
  measured: readonly Measured[] | null,
): Promise<ChosenPlan> {
  const path = flags.scenario ?? EXAMPLE;
  const fail = (message: string) => new NibbleError('scenario_invalid', { path, message }, { param: 'scenario' });
  const read = await chooseScenario(flags, measured);
  if (thisBox(read) === null) throw fail('no box has "isThisBox": true, so nothing can be measured for it');
  const priced = prices === null ? read : withPrices(read, prices);
  const figures = measured?.map((model) => model.figures) ?? null;
  const scenario = figures === null ? priced : withMeasured(priced, figures);
  checkNames(scenario, fail);
  const analysis = analyze(scenario, measured === null ? 1 : DRAWS, SEED);
  const boxName = thisBox(scenario)?.name ?? '';
  return {
    ...{ scenario, analysis, boxName },
    outcomeOf: (model) => {
      const name = `${boxName} / ${figures?.[model]?.name ?? ''}`;
      const found = analysis.outcomes.find((outcome) => outcome.name === name);
      if (found === undefined) throw new NibbleError('internal', {});
      return found;
    },
  };
}

/** Energy and hardware of a thousand requests, by the tariff of the plan and the price of this box. */
export function pricePerThousand(scenario: Scenario, { requestsPerS, joulesPerRequest }: Measured): Price {
  const settled = settleLikely(scenario);
  const box = settled.options.find((option): option is Box<number> => option.kind === 'box' && option.isThisBox);
  const { tariffPerKwh: perKwh, carbonGramsPerKwh: gramsPerKwh, pue } = settled.site;
  const hardwarePerHour = box === undefined ? 0 : box.price / (box.lifeMonths * HOURS_PER_MONTH);
  const rates = { perKwh, gramsPerKwh, pue, hardwarePerHour };
  const { energy, hardware, carbonGrams } = priceOf(1000 * (joulesPerRequest ?? 0), 1000 / requestsPerS, rates);
  return { energy, hardware, carbonGrams };
}
