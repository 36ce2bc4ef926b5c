/** Picojoules of single operations. The figures are of chips long ago; what counts here is their proportion. */
export type EnergyTable = {
  /** One byte from main memory. */
  readonly memoryBytePj: number;
  /** One multiply-accumulate: int8 into int32, and fp32. */
  readonly int8MacPj: number;
  readonly fp32MacPj: number;
  /** Where each figure is from. */
  readonly source: string;
};

/**
 * Arithmetic: M. Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm at 0.9 V (int8 mul 0.2 + int32 add 0.1; fp32
 * mul 3.7 + add 0.9). Memory: LPDDR4 at 8 pJ a bit (Malladi et al., ISCA 2012, as accelergy's table cites it).
 */
export const horowitz45nm: EnergyTable = {
  memoryBytePj: 64,
  int8MacPj: 0.3,
  fp32MacPj: 4.6,
  source: 'Horowitz ISSCC 2014 (45 nm), LPDDR4 8 pJ/bit',
};
