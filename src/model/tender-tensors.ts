/** What a file has beside its matrices where an input is in groups of channels (docs/methods/tender.md). */
import type { ArchitectureSpec } from '../native/contract.js';
import type { LayerClass } from './recipe-types.js';

export type TenderTensor =
  | { readonly shape: readonly [number]; readonly integers: boolean }
  /** Of any length up to `most`. */
  | { readonly shape: null; readonly most: number; readonly integers: boolean };

/** Groups beyond these have steps below the rounding of f32; chunks, positions beyond any context. */
const GROUPS_MAX = 24;
const CHUNKS_MAX = 8193;

export type TenderPart = 'order' | 'sizes' | 'scales' | 'bias' | 'offset';

export const tenderName = (layer: number, input: LayerClass, part: TenderPart): string =>
  `blk.${layer}.${input}.tender_${part}`;

/** What a tensor of this name must be; undefined if it isn't one of these. */
export function tenderTensor(name: string, spec: ArchitectureSpec): TenderTensor | undefined {
  const { hidden, ffn, heads, kvHeads, headDim, layers } = spec;
  const widths: Readonly<Record<string, readonly [inputs: number, outputs: number]>> = {
    qkv: [hidden, (heads + 2 * kvHeads) * headDim],
    output: [heads * headDim, hidden],
    gateUp: [hidden, 2 * ffn],
    down: [ffn, hidden],
  };
  const [, layer = '', input = '', part] =
    /^blk\.(\d{1,4})\.(qkv|output|gateUp|down)\.tender_(order|sizes|scales|bias|offset)$/.exec(name) ?? [];
  const [inputs, outputs] = widths[input] ?? [0, 0];
  if (part === undefined || Number(layer) >= layers || String(Number(layer)) !== layer) return undefined;
  if (part === 'sizes') return { shape: null, most: GROUPS_MAX, integers: true };
  if (part === 'scales') return { shape: null, most: CHUNKS_MAX, integers: false };
  return { shape: [part === 'offset' ? outputs : inputs], integers: part === 'order' };
}
