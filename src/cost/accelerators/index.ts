/** The modelled accelerators. Every figure is simulated; docs/hardware-models.md says how far to trust them. */
import { arrayAccelerator, arrayOwn } from './designs.js';
import type { Accelerator } from './types.js';

export const accelerators: readonly Accelerator[] = Object.values(arrayOwn).map((own) => arrayAccelerator(own));

export { type CpuLimits, type CpuWidths, evaluateCpu } from './cpu.js';
export type { Accelerator, Changes, Energy, Evaluation, GemmShape, Parameter } from './types.js';
export { joulesOf, throughputOf } from './types.js';
export {
  decodeGemms,
  prefillGemms,
  publishedModels,
  type Requests,
  requestGemms,
  type TransformerShape,
} from './workload.js';
