/** What a proof of concept found: plain data, the same for the table, the JSON and the report. */
import type { EnergySource } from '../../metering/types.js';
import type { Agreement } from '../eval/scorer.js';
import type { Machine } from '../output.js';
import type { Plan } from '../tco/present.js';
import type { Measured } from './measure.js';
import type { ReadyPrompt } from './prompts.js';
import type { ExactMatch, TextAgreement } from './quality.js';
import type { Recommendation } from './recommend.js';

/** Money of the plan's currency, and grams, for a thousand requests of a box that is busy all the time. */
export type Price = { readonly energy: number; readonly hardware: number; readonly carbonGrams: number };

export type PocModel = {
  readonly name: string;
  readonly isBaseline: boolean;
  readonly file: string;
  readonly fileBytes: number;
  readonly measured: Measured;
  /** null for the baseline. */
  readonly quality: { readonly agreement: Agreement; readonly texts: TextAgreement } | null;
  readonly exactMatch: ExactMatch | null;
  readonly pricePerThousand: Price;
};

export type Poc = {
  readonly machine: Machine;
  readonly commit: string;
  readonly date: string;
  readonly command: string;
  readonly data: { readonly path: string; readonly sha256: string };
  readonly prompts: readonly ReadyPrompt[];
  readonly streams: number;
  readonly klMax: number;
  readonly energy: { readonly source: EnergySource; readonly meter: string } | null;
  readonly models: readonly PocModel[];
  readonly recommendation: Recommendation;
  readonly plan: Plan;
  /** Whether the scenario is the user's own. */
  readonly isOwnScenario: boolean;
};
