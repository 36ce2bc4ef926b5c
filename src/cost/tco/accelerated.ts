/** Boxes with a modelled accelerator: their figures are simulated by src/cost/accelerators. */
import { accelerators, decodeGemms, joulesOf, prefillGemms, publishedModels } from '../accelerators/index.js';
import type { TransformerShape } from '../accelerators/workload.js';
import type { Amount, Box, Option, RecipeFigures, Scenario } from './scenario.js';

/** In a file: a host and what is in it. */
export type Accelerated = Omit<Box, 'kind' | 'isThisBox' | 'recipes'> & {
  readonly kind: 'accelerator';
  /** Names of modelled designs, each an option of its own, and how many arrays of it a host has. */
  readonly designs: readonly string[];
  readonly arrays: number;
  /** Requests that all arrays together answer at once. */
  readonly streams: number;
  /** What they compute: one of `publishedModels`, or a shape. */
  readonly model: string | Omit<TransformerShape, 'name'>;
};

/** What a file holds; ranges and all. */
export type ScenarioFile = Omit<Scenario, 'options'> & { readonly options: readonly (Option | Accelerated)[] };

export const designNames: readonly string[] = accelerators.map(({ name }) => name);
export const modelNames: readonly string[] = publishedModels.map(({ name }) => name);

const likely = (amount: Amount): number => (typeof amount === 'number' ? amount : amount.likely);

/**
 * One design at the likely token counts: every prompt by itself, answers of an array's streams together. A box's joules
 * hold what its host draws anyway. Throws a RangeError for an unknown name.
 */
function simulate(option: Accelerated, design: string, { workload }: ScenarioFile): RecipeFigures {
  const { arrays, streams, model, idleWatts } = option;
  const accelerator = accelerators.find(({ name }) => name === design);
  const shape = typeof model === 'string' ? publishedModels.find(({ name }) => name === model) : { ...model, name: '' };
  if (accelerator === undefined || shape === undefined) throw new RangeError(`${design} or its model is unknown`);
  const promptTokens = Math.max(1, Math.round(likely(workload.promptTokens)));
  const outputTokens = Math.max(1, Math.round(likely(workload.outputTokens)));
  const requests = { batch: Math.ceil(streams / arrays), promptTokens, outputTokens };
  const figuresOf = (tokens: number, gemms: ReturnType<typeof prefillGemms>) => {
    const { seconds, energy } = accelerator.evaluate(gemms);
    const tokensPerS = (arrays * requests.batch * tokens) / seconds;
    const joules = joulesOf(energy) / (requests.batch * tokens);
    return { tokensPerS, joules: joules + likely(idleWatts) / tokensPerS };
  };
  const prompt = figuresOf(promptTokens, prefillGemms(shape, requests));
  const output = figuresOf(outputTokens, decodeGemms(shape, requests));
  return {
    ...{ name: design, source: 'simulated', streams: arrays * requests.batch },
    ...{ prefillTokensPerS: prompt.tokensPerS, joulesPerPromptToken: prompt.joules },
    ...{ decodeTokensPerS: output.tokensPerS, joulesPerOutputToken: output.joules },
  };
}

/** The scenario with simulated figures in the place of designs. */
export function withSimulated(file: ScenarioFile): Scenario {
  const options = file.options.map((option): Option => {
    if (option.kind !== 'accelerator') return option;
    const { designs, arrays, streams, model, ...host } = option;
    const recipes = designs.map((design) => simulate(option, design, file));
    return { ...host, kind: 'box', isThisBox: false, recipes };
  });
  return { ...file, options };
}
