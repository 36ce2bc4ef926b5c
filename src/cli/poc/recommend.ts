/** Which candidate to deploy, and why. Pure. */
import type { Analyzed } from '../../cost/tco/analysis.js';
import { percent } from '../bench/table.js';
import type { Agreement } from '../eval/scorer.js';
import type { ExactMatch } from './quality.js';

/** What is known of a model when it is judged. */
export type Judged = {
  readonly name: string;
  readonly isBaseline: boolean;
  /** null for the baseline. */
  readonly agreement: Pick<Agreement, 'klMean' | 'sameTop'> | null;
  readonly exactMatch: ExactMatch | null;
  readonly requestsPerS: number;
  readonly joulesPerRequest: number | null;
  /** On this box, in the plan. */
  readonly plan: Pick<Analyzed, 'perMonth' | 'misses'>;
};

/** Why a model isn't to be deployed; none: it may be. */
export type Verdict = { readonly name: string; readonly objections: readonly string[] };

export type Recommendation = {
  /** null: none of them. */
  readonly name: string | null;
  readonly reasons: readonly string[];
  readonly verdicts: readonly Verdict[];
};

/** Plans that differ less than this cost the same. */
const SAME_COST = 0.01;
/** Measured rates that differ less may be the other way round the next time. */
const SAME_SPEED = 0.05;

/** Answers lost beyond what chance gives and takes: two standard errors of the difference of paired counts. */
const losesAnswers = ({ lost, gained }: ExactMatch): boolean => lost - gained > 2 * Math.sqrt(lost + gained);

const missWords = {
  ttft: 'its first token comes too late',
  itl: 'its tokens come too slowly',
  capacity: 'it has no capacity for all requests',
} as const;

/** What a model is measured by, and where the plan's cheapest option is. */
export type Terms = {
  readonly klMax: number;
  /** Name of the option, null: none meets the targets; and of the box whose options these models are. */
  readonly cheapest: string | null;
  readonly box: string;
};

function objectionsTo({ agreement, exactMatch, plan }: Judged, klMax: number): string[] {
  const objections: string[] = plan.misses.map((miss) => missWords[miss]);
  if (agreement !== null && !(agreement.klMean <= klMax)) {
    objections.push(
      `its predictions are too far from the baseline's: mean KL ${agreement.klMean.toPrecision(3)} nats, at most ${klMax}`,
    );
  }
  if (exactMatch !== null && losesAnswers(exactMatch)) {
    objections.push(`it loses ${exactMatch.lost} right answers of the baseline and gains ${exactMatch.gained}`);
  }
  return objections;
}

/** The baseline is nearest to itself. */
const distanceOf = ({ agreement }: Judged): number => agreement?.klMean ?? 0;

/** Less money first; where that is the same, more requests per second; and where they are too, what is nearer. */
function bestOf(models: readonly Judged[]): Judged | null {
  const least = Math.min(...models.map(({ plan }) => plan.perMonth));
  const cheap = models.filter(({ plan }) => plan.perMonth <= least * (1 + SAME_COST));
  const most = Math.max(...cheap.map(({ requestsPerS }) => requestsPerS));
  const fast = cheap.filter(({ requestsPerS }) => requestsPerS >= most * (1 - SAME_SPEED));
  return fast.reduce<Judged | null>(
    (best, one) => (best !== null && distanceOf(best) <= distanceOf(one) ? best : one),
    null,
  );
}

const times = (ratio: number): string => `${ratio.toFixed(2)} ×`;

function reasonsFor(chosen: Judged, baseline: Judged): string[] {
  const { agreement, exactMatch } = chosen;
  const reasons = [
    `it answers ${times(chosen.requestsPerS / baseline.requestsPerS)} as many requests per second as the baseline`,
  ];
  if (chosen.joulesPerRequest !== null && baseline.joulesPerRequest !== null && baseline.joulesPerRequest > 0) {
    reasons.push(`a request takes ${times(chosen.joulesPerRequest / baseline.joulesPerRequest)} the energy`);
  }
  if (agreement !== null) {
    const top = percent(agreement.sameTop);
    reasons.push(
      `its predictions stay close: mean KL ${agreement.klMean.toPrecision(3)} nats, the same token on top in ${top}`,
    );
  }
  if (exactMatch !== null) {
    reasons.push(
      `${exactMatch.right} of ${exactMatch.prompts} answers are right (${exactMatch.lost} lost, ${exactMatch.gained} gained)`,
    );
  }
  const cost = chosen.plan.perMonth / baseline.plan.perMonth;
  const isSame = Math.abs(cost - 1) <= SAME_COST;
  reasons.push(
    `on this box the plan costs ${isSame ? 'as much as' : `${times(cost)} what it costs`} with the baseline`,
  );
  return reasons;
}

/** Of those without objections the one that costs least. The first of `models` is the baseline. */
export function recommend(models: readonly Judged[], { klMax, cheapest, box }: Terms): Recommendation {
  const verdicts = models.map((model) => ({ name: model.name, objections: objectionsTo(model, klMax) }));
  const isElsewhere = cheapest !== null && !cheapest.startsWith(`${box} / `);
  const remark = isElsewhere ? [`but of all options of the plan ${cheapest} costs least`] : [];
  const fit = models.filter((_, i) => verdicts[i]?.objections.length === 0);
  const chosen = bestOf(fit);
  const [baseline] = models;
  if (chosen === null || baseline === undefined) {
    return { name: null, reasons: ['every model has something against it'], verdicts };
  }
  if (chosen.isBaseline) {
    const others =
      fit.length > 1 ? 'no candidate costs less or answers faster' : 'every candidate has something against it';
    return { name: chosen.name, reasons: [others, ...remark], verdicts };
  }
  return { name: chosen.name, reasons: [...reasonsFor(chosen, baseline), ...remark], verdicts };
}
