/** Ranges of a scenario: where they are, and what the scenario is with each of them settled. */
import type { Range, Scenario } from './scenario.js';

export const isRange = (value: unknown): value is Range =>
  typeof value === 'object' && value !== null && 'low' in value && 'likely' in value && 'high' in value;

/** `Cloud API › basePerMonth`: members of a list go by their names, options by that alone. */
function join(path: string, key: string, value: unknown): string {
  const named = typeof value === 'object' && value !== null && 'name' in value ? value.name : undefined;
  const part = /^\d+$/.test(key) && typeof named === 'string' ? named : key;
  return path === '' || path === 'options' ? part : `${path} › ${part}`;
}

function replace(value: unknown, path: string, choose: (range: Range, path: string) => number): unknown {
  if (isRange(value)) return choose(value, path);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((entry, i) => replace(entry, join(path, String(i), entry), choose));
  const entries = Object.entries(value).map(([key, entry]) => [key, replace(entry, join(path, key, entry), choose)]);
  return Object.fromEntries(entries);
}

/** The scenario with one number for each range. */
export function settle(scenario: Scenario, choose: (range: Range, path: string) => number): Scenario<number> {
  return replace(scenario, '', choose) as Scenario<number>;
}

export const settleLikely = (scenario: Scenario): Scenario<number> => settle(scenario, ({ likely }) => likely);

export type Uncertainty = { readonly path: string; readonly range: Range };

/** Every range, in the order of the file. */
export function uncertaintiesOf(scenario: Scenario): Uncertainty[] {
  const found: Uncertainty[] = [];
  settle(scenario, (range, path) => {
    found.push({ path, range });
    return range.likely;
  });
  return found;
}

/**
 * The triangular distribution: nothing outside the bounds, `likely` where its density is highest.
 * @param u in [0, 1)
 */
export function triangular({ low, likely, high }: Range, u: number): number {
  if (!(high > low)) return low;
  const below = (likely - low) / (high - low);
  if (u < below) return low + Math.sqrt(u * (high - low) * (likely - low));
  return high - Math.sqrt((1 - u) * (high - low) * (high - likely));
}
