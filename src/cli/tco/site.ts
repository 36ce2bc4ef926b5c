/** Puts into a scenario what is known of this site: what was measured on it, and what it pays. */
import { ratesAt } from '../../cost/price.js';
import type { RecipeFigures, Scenario } from '../../cost/tco/scenario.js';
import { configInvalid } from '../../errors.js';
import { readPrices } from '../prices.js';

/** Boxes that stand for this machine have the recipes that were measured on it, instead of those of the scenario. */
export function withMeasured(scenario: Scenario, recipes: readonly RecipeFigures<number>[]): Scenario {
  const options = scenario.options.map((option) => {
    return option.kind === 'box' && option.isThisBox ? { ...option, recipes } : option;
  });
  return { ...scenario, options };
}

/** Of a day: a plan doesn't say at which hour what is computed. */
function meanOfDay(read: (hour: number) => number): number {
  return Array.from({ length: 24 }, (_, hour) => read(hour + 0.5)).reduce((sum, value) => sum + value, 0) / 24;
}

/**
 * What the server's price file says: tariff, carbon, PUE, and what this machine cost, if that is in it.
 * Throws `config_invalid`.
 */
export function withPrices(scenario: Scenario, path: string): Scenario {
  const prices = readPrices(path);
  const { pue, hardwarePrice, hardwareYears } = prices;
  if (prices.currency !== scenario.currency) {
    const message = `${path} is in ${prices.currency}, the scenario in ${scenario.currency}`;
    throw configInvalid('prices', message);
  }
  const lifeMonths = Math.max(1, Math.round(12 * hardwareYears));
  const options = scenario.options.map((option) => {
    const isPriced = option.kind === 'box' && option.isThisBox && hardwarePrice > 0;
    return isPriced ? { ...option, price: hardwarePrice, lifeMonths } : option;
  });
  const tariffPerKwh = meanOfDay((hour) => ratesAt(prices, hour).perKwh);
  const carbonGramsPerKwh = meanOfDay((hour) => ratesAt(prices, hour).gramsPerKwh);
  return { ...scenario, options, site: { ...scenario.site, tariffPerKwh, carbonGramsPerKwh, pue } };
}
