/** Reads a scenario: a file of JSON, hostile until it is checked. */
import type { TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { type ScenarioFile, withSimulated } from '../../cost/tco/accelerated.js';
import { choicesOf, type Scenario } from '../../cost/tco/scenario.js';
import { isRange } from '../../cost/tco/uncertain.js';
import { NibbleError } from '../../errors.js';
import { SCENARIO_BYTES_MAX } from '../../limits.js';
import { type Fail, readJsonFile } from '../json-file.js';
import { optionSchemas, scenarioSchema } from './schema.js';

type End = 'low' | 'likely' | 'high';

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

/** The content with one end of each range in its place; what looks like a range must be one. */
function atEnd(value: unknown, end: End, path: string, fail: Fail): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((entry, i) => atEnd(entry, end, `${path}/${i}`, fail));
  if (isRange(value)) {
    const { low, likely, high } = value;
    const isOrdered = isNumber(low) && isNumber(likely) && isNumber(high) && low <= likely && likely <= high;
    if (!isOrdered || Object.keys(value).length !== 3)
      throw fail(`${path} is no range: low ≤ likely ≤ high, as numbers`);
    return value[end];
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, atEnd(entry, end, `${path}/${key}`, fail)]),
  );
}

/** The first thing that is wrong, in words; null if nothing is. */
function findFault(schema: TSchema, value: unknown, path: string): string | null {
  if (Value.Check(schema, value)) return null;
  const error = Value.Errors(schema, value).find(({ keyword }) => keyword !== 'boolean');
  const at = `${path}${error?.instancePath ?? ''}` || 'it';
  if (error?.keyword === 'required') return `${at} lacks ${error.params.requiredProperties.join(', ')}`;
  if (error?.keyword === 'additionalProperties')
    return `${at} has the unknown ${error.params.additionalProperties.join(', ')}`;
  return `${at} ${error?.message ?? 'is wrong'}`;
}

function optionFault(option: unknown, path: string): string | null {
  const kind = typeof option === 'object' && option !== null && 'kind' in option ? option.kind : undefined;
  const schema = typeof kind === 'string' && Object.hasOwn(optionSchemas, kind) ? optionSchemas[kind] : undefined;
  if (schema === undefined) return `${path} needs "kind": one of ${Object.keys(optionSchemas).join(', ')}`;
  return findFault(schema, option, path);
}

function checkEnd(content: unknown, end: End, fail: Fail): void {
  const settled = atEnd(content, end, '', fail);
  const fault = findFault(scenarioSchema, settled, '');
  if (fault !== null) throw fail(fault);
  const { options } = settled as { readonly options: readonly unknown[] };
  for (const [i, option] of options.entries()) {
    const wrong = optionFault(option, `/options/${i}`);
    if (wrong !== null) throw fail(wrong);
  }
}

/** Names that are no names, and a baseline that isn't there. */
export function checkNames(scenario: Scenario, fail: Fail): void {
  const names = choicesOf(scenario).map((choice) => choice.name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw fail(`two options have the name "${twice}"`);
  if (!names.includes(scenario.baseline))
    throw fail(`the baseline "${scenario.baseline}" is none of: ${names.join('; ')}`);
}

/** Throws what `fail` makes of the first fault. */
export function parseScenario(content: unknown, fail: Fail): Scenario {
  for (const end of ['likely', 'low', 'high'] as const) checkEnd(content, end, fail);
  const scenario = withSimulated(content as ScenarioFile);
  checkNames(scenario, fail);
  return scenario;
}

/** Throws `scenario_invalid`. */
export async function readScenario(path: string): Promise<Scenario> {
  const fail = (message: string, cause?: unknown) =>
    new NibbleError('scenario_invalid', { path, message }, { param: 'scenario', cause });
  return parseScenario(await readJsonFile(path, SCENARIO_BYTES_MAX, fail), fail);
}
