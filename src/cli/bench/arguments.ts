/** Readers of command-line values shared by the bench and eval commands. A bad value is a usage error. */
import { InvalidArgumentError } from 'commander';
import type { IsaLevel } from '../../native/contract.js';

const levels: readonly IsaLevel[] = ['scalar', 'avx2', 'avxvnni', 'avx512', 'neon'];

/** A reader of integers within [minimum, maximum]. */
export const integerIn =
  (minimum: number, maximum: number) =>
  (text: string): number => {
    const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum)) {
      throw new InvalidArgumentError(`must be an integer from ${minimum} to ${maximum}.`);
    }
    return value;
  };

/** A reader of comma-separated integers; each once, in the order given. */
export const integersIn = (minimum: number, maximum: number) => {
  const read = integerIn(minimum, maximum);
  return (text: string): readonly number[] => [...new Set(text.split(',').map((part) => read(part.trim())))];
};

/** A reader of comma-separated names out of `known`; `all` stands for every one. */
export const namesOf =
  <T extends string>(known: readonly T[]) =>
  (text: string): readonly T[] => {
    if (text === 'all') return known;
    return text.split(',').map((part) => {
      const found = known.find((name) => name === part.trim());
      if (found === undefined) throw new InvalidArgumentError(`must be "all" or some of: ${known.join(', ')}.`);
      return found;
    });
  };

export const readLevels = namesOf(levels);

/** `all` may name levels that this machine lacks: those are left out, but a level that was named must exist. */
export function chooseLevels(
  wanted: readonly IsaLevel[] | undefined,
  cpu: { readonly level: IsaLevel; readonly levels: readonly IsaLevel[] },
): readonly IsaLevel[] {
  if (wanted === undefined) return [cpu.level];
  return wanted === levels ? cpu.levels : wanted;
}

/** Tokens × output features × input features. */
export type Shape = { readonly m: number; readonly n: number; readonly k: number };

/** `512x1536x576`. */
export function readShape(text: string): Shape {
  const parts = /^(\d{1,6})x(\d{1,6})x(\d{1,6})$/.exec(text);
  const [m, n, k] = (parts?.slice(1) ?? []).map(Number);
  if (m === undefined || n === undefined || k === undefined || m < 1 || n < 1 || k < 32 || k % 32 !== 0) {
    throw new InvalidArgumentError('must be tokens x outputs x inputs, such as 512x1536x576; inputs a multiple of 32.');
  }
  return { m, n, k };
}
