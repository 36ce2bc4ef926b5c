/** Products that a transformer does for a batch of prompts and the texts that follow them. */
import type { GemmShape } from './types.js';

export type TransformerShape = {
  readonly name: string;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  /** Matrices of a feed-forward layer: 3 with a gate, else 2. */
  readonly ffnMatrices: 2 | 3;
  readonly vocab: number;
};

/** As the authors of each give it; Llama's feed-forward layers have a gate. */
export const publishedModels = [
  {
    ...{ name: 'opt-6.7b', layers: 32, hidden: 4096, heads: 32, kvHeads: 32, headDim: 128 },
    ...{ ffn: 16_384, ffnMatrices: 2, vocab: 50_272 },
  },
  {
    ...{ name: 'opt-13b', layers: 40, hidden: 5120, heads: 40, kvHeads: 40, headDim: 128 },
    ...{ ffn: 20_480, ffnMatrices: 2, vocab: 50_272 },
  },
  {
    ...{ name: 'llama-2-7b', layers: 32, hidden: 4096, heads: 32, kvHeads: 32, headDim: 128 },
    ...{ ffn: 11_008, ffnMatrices: 3, vocab: 32_000 },
  },
  {
    ...{ name: 'llama-2-13b', layers: 40, hidden: 5120, heads: 40, kvHeads: 40, headDim: 128 },
    ...{ ffn: 13_824, ffnMatrices: 3, vocab: 32_000 },
  },
] as const satisfies readonly TransformerShape[];

export type Requests = {
  readonly batch: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
};

/** Matrices of all layers, for `tokens` rows at once. */
function linear(shape: TransformerShape, tokens: number, count: number): GemmShape[] {
  const { layers, hidden, heads, kvHeads, headDim, ffn, ffnMatrices } = shape;
  const matrix = (k: number, n: number): GemmShape => {
    return { m: tokens, k, n, count: count * layers, operand: 'weights' };
  };
  return [
    matrix(hidden, (heads + 2 * kvHeads) * headDim),
    matrix(heads * headDim, hidden),
    matrix(hidden, (ffnMatrices - 1) * ffn),
    matrix(ffn, hidden),
  ];
}

/** Scores and values of `tokens` tokens of each sequence over `positions`; heads that share keys share a product. */
function attention(shape: TransformerShape, tokens: number, positions: number, count: number): GemmShape[] {
  const { layers, heads, kvHeads, headDim } = shape;
  const m = (tokens * heads) / kvHeads;
  const common = { m, count: count * layers * kvHeads, operand: 'cache' as const };
  return [
    { ...common, k: headDim, n: positions },
    { ...common, k: positions, n: headDim },
  ];
}

const head = ({ hidden, vocab }: TransformerShape, rows: number, count: number): GemmShape => {
  return { m: rows, k: hidden, n: vocab, count, operand: 'weights' };
};

/** Every prompt by itself, as prompts come; a token sees half of its prompt on average. One row of logits each. */
export function prefillGemms(shape: TransformerShape, { batch, promptTokens }: Requests): readonly GemmShape[] {
  const positions = Math.ceil((promptTokens + 1) / 2);
  return [
    ...linear(shape, promptTokens, batch),
    ...attention(shape, promptTokens, positions, batch),
    head(shape, 1, batch),
  ];
}

/** All sequences together, a token of each in a step; what they see grows, its mean counts. */
export function decodeGemms(shape: TransformerShape, requests: Requests): readonly GemmShape[] {
  const { batch, promptTokens, outputTokens } = requests;
  if (outputTokens === 0) return [];
  const positions = Math.ceil(promptTokens + (outputTokens + 1) / 2);
  return [
    ...linear(shape, batch, outputTokens),
    ...attention(shape, 1, positions, batch * outputTokens),
    head(shape, batch, outputTokens),
  ];
}

export const requestGemms = (shape: TransformerShape, requests: Requests): readonly GemmShape[] => [
  ...prefillGemms(shape, requests),
  ...decodeGemms(shape, requests),
];
