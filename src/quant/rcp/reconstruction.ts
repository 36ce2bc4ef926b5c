/**
 * Block-wise reconstruction: layer by layer, the quantized block learns its levels, which level each weight takes and
 * the gains of its norms, by gradient descent on what the float block gives for the same text. Its input is what the
 * quantized layers before it made of the text, so that it also makes up for their errors. After BRECQ (arXiv
 * 2102.05426) and Block-AP (EfficientQAT, arXiv 2407.11062).
 */
import { availableParallelism } from 'node:os';
import { asNibbleError } from '../../engine/as-nibble-error.js';
import { NibbleError } from '../../errors.js';
import { type LayerClass, layerClasses, type Recipe } from '../../model/recipe-types.js';
import type {
  ArchitectureSpec,
  BlockGains,
  BlockMatrix,
  ReconstructedBlock,
  TensorSpec,
} from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import type { LayerFloats } from '../layer.js';
import type { QuantizedTensor } from '../quantize-tensors.js';
import { type Source, tensorPieces } from '../source.js';

/** Tried on the first block of the default model (docs/methods/rcp.md). */
const WEIGHT_RATE = 0.015;
const LEVEL_SHARE = 1 / 3; // of the weights' rate
const GAIN_RATE = 0.001;

/** Of each class, in the order in which its rows follow each other. */
const members: Readonly<Record<LayerClass, readonly string[]>> = {
  qkv: ['attn_q', 'attn_k', 'attn_v'],
  output: ['attn_output'],
  gateUp: ['ffn_gate', 'ffn_up'],
  down: ['ffn_down'],
};
const gainNames = { attention: 'attn_norm', ffn: 'ffn_norm' } as const;

/** Why a model's blocks can't be reconstructed; null if they can. */
export function whyNot({ qkNorm, heads, kvHeads, headDim }: ArchitectureSpec): string | null {
  if (qkNorm) return 'queries and keys have norms of their own';
  return ((heads + 2 * kvHeads) * headDim) % 32 === 0 ? null : 'heads have an odd number of 16 values in all';
}

function joined<T extends Float32Array | Uint8Array>(parts: readonly T[], make: (length: number) => T): T {
  const all = make(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
const joinFloats = (parts: readonly Float32Array[]) => joined(parts, (length) => new Float32Array(length));

const floatsOf = ({ layer, tensors }: LayerFloats, name: string): Float32Array => {
  const values = tensors.get(`blk.${layer}.${name}`);
  if (values === undefined) throw new Error(`${name} isn't there as floats`);
  return values;
};
const gainsOf = (of: (name: string) => Float32Array): BlockGains => ({
  attention: of(`${gainNames.attention}.weight`),
  ffn: of(`${gainNames.ffn}.weight`),
});

/** Windows of whole 32 tokens, and the hidden states before the first block: rows of the embedding. */
function embed(source: Source, windows: readonly Int32Array[], windowTokens: number, rotated: boolean): Float32Array {
  const embedding = source.file.tensors.find(({ name }) => name === 'token_embd.weight');
  const { hidden } = source.file.architecture;
  if (embedding === undefined) throw new Error('the source has no embedding');
  const rows = new Map<number, Float32Array>();
  const rowOf = (id: number) => {
    const known = rows.get(id);
    if (known !== undefined) return known;
    const floats = source.floats(embedding, id, 1);
    const row = rotated ? loadAddon().rotateRows(floats, hidden, 'forward') : floats;
    rows.set(id, row);
    return row;
  };
  const states = new Float32Array(windows.length * windowTokens * hidden);
  windows.forEach((ids, w) => {
    for (let t = 0; t < windowTokens; t += 1) states.set(rowOf(ids[t] ?? 0), (w * windowTokens + t) * hidden);
  });
  return states;
}

export class Reconstruction {
  readonly #source: Source;
  readonly #recipe: Recipe;
  readonly #windowTokens: number;
  readonly #ropeFactors: Float32Array | null;
  readonly #floatStates: Float32Array;
  readonly #states: Float32Array;

  /** Throws `data_too_short` for windows of less than 32 tokens. */
  constructor(source: Source, recipe: Recipe, windows: readonly Int32Array[]) {
    const shortest = windows.reduce((least, { length }) => Math.min(least, length), Number.MAX_SAFE_INTEGER);
    this.#windowTokens = Math.floor(shortest / 32) * 32;
    if (windows.length === 0 || this.#windowTokens === 0) {
      throw new NibbleError('data_too_short', { path: 'calibration', tokens: 0, neededTokens: 32 });
    }
    this.#source = source;
    this.#recipe = recipe;
    const factors = source.file.tensors.find(({ name }) => name === 'rope_freqs.weight');
    this.#ropeFactors = factors === undefined ? null : source.floats(factors);
    this.#floatStates = embed(source, windows, this.#windowTokens, recipe.rotation === 'hadamard');
    this.#states = this.#floatStates.slice();
  }

  /**
   * Learns a layer, whose floats have been transformed, and goes on behind it. `stored` are its quantized matrices;
   * they and the floats' gains become what was learned.
   */
  async learn(layer: LayerFloats, stored: Map<string, QuantizedTensor>): Promise<ReconstructedBlock> {
    const { steps = 0 } = this.#recipe.reconstruction ?? {};
    const gains = gainsOf((name) => floatsOf(layer, name));
    const block = await this.#run(layer, stored, gains, steps);
    for (const name of layerClasses) {
      const bytes = block.blocks[name];
      let start = 0;
      for (const member of bytes === undefined ? [] : members[name]) {
        const tensor = stored.get(`blk.${layer.layer}.${member}.weight`);
        if (tensor === undefined || bytes === undefined) continue;
        stored.set(tensor.name, { ...tensor, data: bytes.subarray(start, start + tensor.data.length) });
        start += tensor.data.length;
      }
    }
    gains.attention.set(block.gains.attention);
    gains.ffn.set(block.gains.ffn);
    return block;
  }

  /** Goes through a layer that was made before, from its file. */
  async pass(layer: LayerFloats, path: string, tensors: readonly TensorSpec[]): Promise<void> {
    const stored = new Map<string, QuantizedTensor>();
    for (const tensor of tensors) {
      const pieces: Uint8Array[] = [];
      for await (const piece of tensorPieces(path, tensor)) pieces.push(piece);
      stored.set(tensor.name, { ...tensor, data: Buffer.concat(pieces) });
    }
    const gains = gainsOf((name) => {
      const tensor = tensors.find((each) => each.name === `blk.${layer.layer}.${name}`);
      if (tensor === undefined) throw new Error(`${path} has no ${name}`);
      return loadAddon().dequantize(path, tensor);
    });
    await this.#run(layer, stored, gains, 0);
  }

  async #run(
    layer: LayerFloats,
    stored: ReadonlyMap<string, QuantizedTensor>,
    learnedGains: BlockGains,
    steps: number,
  ): Promise<ReconstructedBlock> {
    const { tokens = 0, rate = WEIGHT_RATE } = this.#recipe.reconstruction ?? {};
    const matrix = (name: LayerClass): BlockMatrix => {
      const names = members[name].map((member) => `${member}.weight`);
      const parts = names.flatMap((each) => stored.get(`blk.${layer.layer}.${each}`) ?? []);
      return {
        weights: joinFloats(names.map((each) => floatsOf(layer, each))),
        blocks: joined(
          parts.map(({ data }) => data),
          (length) => new Uint8Array(length),
        ),
        type: parts[0]?.type ?? 0,
        activations: layer.formats[name].activations,
      };
    };
    const biases = ['attn_q', 'attn_k', 'attn_v'].flatMap((name) => {
      return layer.tensors.get(`blk.${layer.layer}.${name}.bias`) ?? [];
    });
    try {
      return await loadAddon().reconstructBlock({
        architecture: this.#source.file.architecture,
        ...(this.#ropeFactors === null ? {} : { ropeFactors: this.#ropeFactors }),
        ...(this.#recipe.rotation === undefined ? {} : { rotation: this.#recipe.rotation }),
        kv: this.#recipe.kv ?? 'f16',
        matrices: { qkv: matrix('qkv'), output: matrix('output'), gateUp: matrix('gateUp'), down: matrix('down') },
        ...{ gains: gainsOf((name) => floatsOf(layer, name)), learnedGains },
        ...(biases.length === 3 ? { qkvBias: joinFloats(biases) } : {}),
        ...{ windowTokens: this.#windowTokens, floatStates: this.#floatStates, states: this.#states, steps },
        stepWindows: Math.max(1, Math.floor(tokens / this.#windowTokens)),
        ...{ weightRate: rate, levelRate: rate * LEVEL_SHARE, gainRate: GAIN_RATE },
        threads: availableParallelism(),
      });
    } catch (error) {
      throw asNibbleError(error);
    }
  }
}
