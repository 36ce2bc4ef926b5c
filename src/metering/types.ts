/**
 * Where a figure of energy comes from. `measured`: a sensor of the machine or a meter beside it. `modelled`: work times
 * a table of energies; it compares recipes and is never the bill, so it has to be asked for. `tdp`: CPU time times
 * configured watts, where there is no sensor.
 */
export type EnergySource = 'measured' | 'modelled' | 'tdp';

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
  /** Takes the work of steps, as src/cost/step-work.ts has it, before they are divided; sensors leave it out. */
  addWork?(picojoules: number): void;
  close(): void;
}

/** A meter that can't be used: why, in words for the operator. */
export type Unavailable = { readonly reason: string };

export function isUnavailable<T extends object>(found: T | Unavailable): found is Unavailable {
  return 'reason' in found;
}
