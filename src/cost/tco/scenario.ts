/** What a plan is made of: the work, the place, and the ways to have it done. Figures may be ranges. */

/** A figure that is known to lie within bounds, most probably at `likely`. */
export type Range = { readonly low: number; readonly likely: number; readonly high: number };
export type Amount = number | Range;

/** With A = number every figure is settled; money is in the scenario's currency throughout. */
export type Scenario<A = Amount> = {
  readonly name: string;
  readonly currency: string;
  /** How far the plan looks ahead. */
  readonly months: number;
  readonly workload: Workload<A>;
  readonly site: Site<A>;
  /** Name of the option that the others are compared with: what is done today. */
  readonly baseline: string;
  readonly options: readonly Option<A>[];
};

export type Workload<A = Amount> = {
  readonly requestsPerMonth: A;
  /** 0.02: every month 2 % more than the month before. */
  readonly growthPerMonth: A;
  readonly promptTokens: A;
  readonly outputTokens: A;
  /** Hours of a day in which requests come, and how many times the mean of these hours the busiest time has. */
  readonly activeHoursPerDay: A;
  readonly peakFactor: A;
  /** Places among which requests are divided evenly and each of which needs boxes of its own. */
  readonly sites: number;
  readonly modelUpdatesPerYear: A;
  /** Targets at the busiest time: of 95 % of the requests until the first token, and of the time between two. */
  readonly ttftMs: number;
  readonly itlMs: number;
};

export type Site<A = Amount> = {
  readonly tariffPerKwh: A;
  readonly carbonGramsPerKwh: A;
  /** What the site draws for each joule of a box. */
  readonly pue: A;
  readonly labourPerHour: A;
};

/** Work and what is bought for it. */
export type Effort<A = Amount> = { readonly hours: A; readonly price: A };

/** How fast a box computes, and what that takes, with one recipe. */
export type RecipeFigures<A = Amount> = {
  readonly name: string;
  readonly source: 'measured' | 'simulated' | 'stated';
  /** Requests that a box answers at once, and tokens per second of all of them together. */
  readonly streams: number;
  readonly prefillTokensPerS: A;
  readonly decodeTokensPerS: A;
  readonly joulesPerPromptToken: A;
  readonly joulesPerOutputToken: A;
};

export type Box<A = Amount> = {
  readonly kind: 'box';
  readonly name: string;
  readonly price: A;
  readonly lifeMonths: number;
  readonly idleWatts: A;
  /** Labour for all boxes together, and for each. */
  readonly hoursPerMonth: A;
  readonly hoursPerBoxMonth: A;
  readonly migration: Effort<A>;
  /** For each update of the model: quantizing it anew, checking and rolling it out. */
  readonly update: Effort<A>;
  /** Whether the recipes stand for figures that are to be measured on this machine. */
  readonly isThisBox: boolean;
  readonly recipes: readonly RecipeFigures<A>[];
};

export type Cloud<A = Amount> = {
  readonly kind: 'cloud';
  readonly name: string;
  readonly promptPricePerMillion: A;
  readonly outputPricePerMillion: A;
  /** −0.2: prices fall by a fifth a year. */
  readonly priceChangePerYear: A;
  readonly basePerMonth: A;
  readonly hoursPerMonth: A;
  readonly carbonGramsPerMillionTokens: A;
  readonly ttftMs: A;
  readonly itlMs: A;
  readonly migration: Effort<A>;
  readonly update: Effort<A>;
};

export type Option<A = Amount> = Box<A> | Cloud<A>;

/** A box with one of its recipes, or a cloud: what has a cost. */
export type Choice<A = Amount> =
  | { readonly kind: 'box'; readonly name: string; readonly box: Box<A>; readonly recipe: RecipeFigures<A> }
  | { readonly kind: 'cloud'; readonly name: string; readonly cloud: Cloud<A> };

/** A box counts once for each recipe, as `box / recipe`. */
export function choicesOf<A>({ options }: Pick<Scenario<A>, 'options'>): Choice<A>[] {
  return options.flatMap((option): Choice<A>[] => {
    if (option.kind === 'cloud') return [{ kind: 'cloud', name: option.name, cloud: option }];
    return option.recipes.map((recipe) => {
      return { kind: 'box', name: `${option.name} / ${recipe.name}`, box: option, recipe };
    });
  });
}
