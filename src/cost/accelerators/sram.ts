/** On-chip memories of 28 nm, by what CACTI says of two sizes of bank; others lie on a power law through them. */
import type { Parameter } from './types.js';

/** A buffer of some banks. */
export type Sram = {
  readonly bytes: number;
  readonly readPjPerBit: number;
  readonly writePjPerBit: number;
  readonly leakageWatts: number;
  readonly areaMm2: number;
};

const source = "CACTI, 28 nm, 64-byte words, as in the sweep that comes with the MixPE authors' simulator";
const figure = (name: string, value: number, unit: string): Parameter => {
  return { name, value, unit, source, kind: 'published' };
};

/** Of a bank of 4 KiB and one of 8 KiB. */
export const sramParameters = {
  read: [figure('read, 4 KiB bank', 16.8924, 'pJ'), figure('read, 8 KiB bank', 17.7688, 'pJ')],
  write: [figure('write, 4 KiB bank', 20.3422, 'pJ'), figure('write, 8 KiB bank', 24.8866, 'pJ')],
  leakage: [figure('leakage, 4 KiB bank', 2.96594, 'mW'), figure('leakage, 8 KiB bank', 5.4983, 'mW')],
  area: [figure('area, 4 KiB bank', 0.0460665, 'mm²'), figure('area, 8 KiB bank', 0.0555837, 'mm²')],
} as const satisfies Readonly<Record<string, readonly [Parameter, Parameter]>>;

const WORD_BITS = 512;
const SRAM_BANKS = 32;

/** A buffer of 32 banks, as the MixPE authors have it. */
export function sramOf(bytes: number, banks = SRAM_BANKS): Sram {
  const doublings = Math.log2(bytes / banks / 4096);
  const at = ([small, large]: readonly [Parameter, Parameter]) => {
    return small.value * (large.value / small.value) ** doublings;
  };
  const { read, write, leakage, area } = sramParameters;
  return {
    bytes,
    readPjPerBit: at(read) / WORD_BITS,
    writePjPerBit: at(write) / WORD_BITS,
    leakageWatts: banks * at(leakage) * 1e-3,
    areaMm2: banks * at(area),
  };
}
