/**
 * Where a figure of energy comes from. `measured`: a sensor of the machine or a meter beside it. `tdp`: CPU time times
 * configured watts, where there is no sensor. (`modelled`, work times a table, is src/cost/energy-table.ts: it compares
 * recipes, and is never the bill.)
 */
export type EnergySource = 'measured' | 'tdp';

/** Counts the energy of this machine, or of this process. */
export interface Meter {
  /** May change once: a sensor that is lost is replaced by an estimate. */
  readonly source: EnergySource;
  /** What is read, for logs and answers: `rapl package-0, package-0/dram`. */
  readonly description: string;
  /** Joules since the meter was opened; never falls. Takes some 10 µs and doesn't throw. */
  joules(): number;
  /**
   * False while it has read nothing since `joules` was last called: it reads by itself, and what it counts at its next
   * reading is of the whole time in between. Those that read when they are asked leave it out.
   */
  readonly hasNews?: boolean;
  close(): void;
}

/** A meter that can't be used: why, in words for the operator. */
export type Unavailable = { readonly reason: string };

export function isUnavailable<T extends object>(found: T | Unavailable): found is Unavailable {
  return 'reason' in found;
}
