/** Sets rules for the inputs of a loaded model (f32 activations), and collects what calibration needs of them. */
import type { ArchitectureSpec, NativeModel } from '../../native/contract.js';
import { type InputRule, LINEAR_INPUTS, type LinearInput } from '../../native/input-study.js';
import type { ChannelRanges } from './plan.js';

export type LayerInput = { readonly layer: number; readonly input: LinearInput; readonly width: number };

function inputWidth({ hidden, heads, headDim, ffn }: ArchitectureSpec, input: LinearInput): number {
  switch (input) {
    case 'output':
      return heads * headDim;
    case 'down':
      return ffn;
    case 'qkv':
    case 'gateUp':
      return hidden;
  }
}

/** Every input of linear layers, by its number. */
export function layerInputs(architecture: ArchitectureSpec): readonly LayerInput[] {
  return Array.from({ length: architecture.layers }, (_, layer) =>
    LINEAR_INPUTS.map((input) => ({ layer, input, width: inputWidth(architecture, input) })),
  ).flat();
}

/** Rules for all inputs; null: as they are. */
export function setRules(
  model: NativeModel,
  inputs: readonly LayerInput[],
  ruleOf: (input: LayerInput, id: number) => InputRule | null,
): void {
  for (const [id, input] of inputs.entries()) model.studyInput(id, ruleOf(input, id));
}

/** Ranges of every input while `run` computes; leaves no rules behind. */
export async function recordRanges(
  model: NativeModel,
  inputs: readonly LayerInput[],
  run: () => Promise<void>,
): Promise<readonly ChannelRanges[]> {
  setRules(model, inputs, () => ({ kind: 'record' }));
  await run();
  const ranges = inputs.map(({ width }, id) => ({ inputs: width, values: model.inputRanges(id) }));
  setRules(model, inputs, () => null);
  return ranges;
}

/** Tender takes the middle of channels away where the paper does: at the inputs that are outputs of a norm. */
export function isCentred(input: LinearInput): boolean {
  return input === 'qkv' || input === 'gateUp';
}
