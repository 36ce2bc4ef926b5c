/** `nibble explore --validate`: published figures of accelerators beside those of the models here. */
import { accelerators, type Parameter } from '../../cost/accelerators/index.js';
import { agrees, type Check, checkAll, errorOf, lutParameters } from '../../cost/accelerators/validation/index.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';

const claim = ({ tolerance }: Check): string => (tolerance === null ? 'none claimed' : `±${100 * tolerance} %`);

export function describeChecks(): string {
  const checks = checkAll();
  const rows = checks.map((check) => [
    ...[check.figure, check.published.toPrecision(3), check.ours.toPrecision(3)],
    ...[`${(100 * errorOf(check)).toFixed(1)} %`, claim(check), agrees(check) ? '' : 'not met'],
  ]);
  const met = checks.filter((check) => check.tolerance !== null && agrees(check)).length;
  const claimed = checks.filter(({ tolerance }) => tolerance !== null).length;
  return `${formatTable(['simulated', 'published', 'ours', 'error', 'claim', ''], rows)}${met} of ${claimed} claims met\n`;
}

/** Parameters of all models, each once. */
function allParameters(): readonly (Parameter & { readonly of: string })[] {
  const own = accelerators.flatMap(({ name, parameters }) => parameters.map((one) => ({ ...one, of: name })));
  const tables = Object.values(lutParameters).map((one) => ({ ...one, of: 'lut validation' }));
  const seen = new Map<string, Parameter & { readonly of: string }>();
  for (const one of [...own, ...tables]) {
    const key = JSON.stringify([one.name, one.value, one.source]);
    const before = seen.get(key);
    seen.set(key, before === undefined ? one : { ...before, of: before.of === one.of ? one.of : 'several' });
  }
  return [...seen.values()];
}

/** The fields of docs/schemas/explore-validate.json, but for those of every result. */
export const describeValidation = (): Readonly<Record<string, unknown>> => ({
  checks: checkAll().map((check) => ({
    ...{ ...check, ours: significant(check.ours), published: significant(check.published) },
    ...{ error: significant(errorOf(check)), agrees: agrees(check) },
  })),
  parameters: allParameters().map((one) => ({ ...one, value: significant(one.value, 6) })),
});
