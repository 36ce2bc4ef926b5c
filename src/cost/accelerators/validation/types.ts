/** A published figure beside what the models here say. */
export type Check = {
  readonly group: 'mixpe-table' | 'mixpe-headline' | 'tender' | 'lut';
  readonly figure: string;
  readonly published: number;
  readonly ours: number;
  /** Largest relative error that counts as agreement; null: stated for comparison, nothing is claimed. */
  readonly tolerance: number | null;
};

export const errorOf = ({ published, ours }: Check): number => ours / published - 1;

export const agrees = (check: Check): boolean =>
  check.tolerance === null || Math.abs(errorOf(check)) <= check.tolerance;
