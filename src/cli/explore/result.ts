/** What an exploration found. */
import type { Accelerator, Evaluation } from '../../cost/accelerators/types.js';
import type { Choice, SweepRecipe } from '../../cost/explore/sweep.js';
import type { Machine } from '../output.js';
import type { CpuFigures } from './cpu.js';
import type { Fidelity } from './fidelity.js';
import type { SpaceFile, WorkloadFile } from './files.js';

/** A design that nothing beats. */
export type FrontPoint = { readonly id: string; readonly choice: Choice; readonly evaluation: Evaluation };

/** A published accelerator in its own configuration, with operands of its own widths. */
export type KnownDesign = Pick<Accelerator, 'name' | 'about' | 'weightBits' | 'activationBits'> & {
  readonly evaluation: Evaluation;
};

export type ExploredRecipe = {
  readonly recipe: SweepRecipe;
  readonly fidelity: Fidelity;
  /** How many designs of the whole front run it. */
  readonly frontPoints: number;
  /** null: not on the front, or not measured. */
  readonly cpu: CpuFigures | null;
  /** That the limits of this machine allow, by the model; null where `cpu` is. */
  readonly rooflineSeconds: number | null;
};

export type Exploration = {
  readonly machine: Machine;
  /** On which errors were measured. */
  readonly model: string;
  /** Whose layers are computed: the model's, or those of a published one. */
  readonly shape: string;
  readonly commit: string;
  readonly date: string;
  readonly command: string;
  readonly workload: WorkloadFile;
  readonly space: SpaceFile;
  readonly data: string | null;
  readonly points: number;
  readonly pointsPerMinute: number;
  readonly frontPoints: number;
  /** The front, thinned out if it is large. */
  readonly front: readonly FrontPoint[];
  readonly known: readonly KnownDesign[];
  readonly recipes: readonly ExploredRecipe[];
};
