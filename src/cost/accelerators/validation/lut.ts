/**
 * LUT Tensor Core's end-to-end figures (arXiv 2408.06003): BitNet-3B on an A100 whose tensor cores look sums up, beside
 * the same GPU with FP16 tensor cores.
 *
 * The model is a roofline of a layer: matrices on tensor cores, attention on FP16 ones, and passes over memory for
 * what isn't fused. One parameter is fitted, the share of the peak that tensor cores reach, to the *FP16* time of
 * BS1024 SEQ1; times with tables, and all ratios, follow. Which run the lower end of the published range belongs to
 * isn't known to us: it is compared with 4-bit weights, where bit-serial tables gain least.
 */
import type { Parameter } from '../types.js';
import type { Check } from './types.js';

const lutSource = 'LUT Tensor Core, arXiv 2408.06003 (as noted by readers)';
const a100 = 'NVIDIA A100 40 GB data sheet';
export const lutParameters = {
  peak: { name: 'FP16 tensor cores', value: 312e12, unit: 'FLOP/s', source: a100, kind: 'published' },
  bandwidth: { name: 'memory', value: 1.555e12, unit: 'bytes/s', source: a100, kind: 'published' },
  faster: {
    ...{ name: 'table tensor cores ÷ FP16 ones (LUT-8X), 2-bit weights', value: 8, unit: '×' },
    ...{ source: lutSource, kind: 'published' },
  },
  precompute: {
    name: 'time of table precomputation',
    value: 0.025,
    unit: 'of the products',
    source: lutSource,
    kind: 'published',
  },
  passes: {
    ...{
      name: 'passes over attention scores: written, softmax reads and writes, values read',
      value: 4,
      unit: 'passes',
    },
    ...{ source: 'an attention that fuses scale and mask, but not the softmax', kind: 'derived' },
  },
  hiddenPasses: {
    ...{ name: 'passes over a hidden state in a layer: two norms, two residual additions, input and output of each' },
    ...{ value: 10, unit: 'passes', source: 'counted operators', kind: 'derived' },
  },
  efficiency: {
    ...{ name: 'share of the peak that tensor cores reach', value: 0.55, unit: 'of the peak' },
    ...{ source: 'FP16 time of BS1024 SEQ1 alone: 41.15 ms', kind: 'fitted' },
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/** BitNet-3B: 26 layers, 3200 wide, feed-forward 8640 with a gate, 32 heads. */
const bitnet = { layers: 26, hidden: 3200, heads: 32, ffn: 8640 } as const;

type Run = { readonly batch: number; readonly tokens: number };
type Cores = { readonly kind: 'fp16' } | { readonly kind: 'tables'; readonly weightBits: number };

/** Milliseconds of one pass over `tokens` tokens of each of `batch` sequences. */
function lutMilliseconds({ batch, tokens }: Run, cores: Cores): number {
  const { layers, hidden, heads, ffn } = bitnet;
  const { peak, bandwidth, faster, precompute, passes, hiddenPasses, efficiency } = lutParameters;
  const rows = batch * tokens;
  const rate = peak.value * efficiency.value;
  const weights = 4 * hidden ** 2 + 3 * hidden * ffn;
  // Bit-serial: a cycle for each bit of a weight.
  const speedup = cores.kind === 'fp16' ? 1 : (faster.value * 2) / cores.weightBits;
  const overhead = cores.kind === 'fp16' ? 0 : precompute.value;
  const weightBytes = (weights * (cores.kind === 'fp16' ? 16 : cores.weightBits)) / 8;
  const arithmetic = ((2 * rows * weights) / (rate * speedup)) * (1 + overhead);
  const matrices = Math.max(arithmetic, weightBytes / bandwidth.value);
  const attention = (4 * batch * tokens ** 2 * hidden) / rate;
  const scores = 2 * batch * heads * tokens ** 2 * passes.value;
  // Gate and up are written and read, their product too.
  const states = 2 * rows * (hidden * hiddenPasses.value + 4 * ffn);
  return layers * (matrices + attention + (scores + states) / bandwidth.value) * 1e3;
}

const runs = { prompt: { batch: 1, tokens: 2048 }, decode: { batch: 1024, tokens: 1 } } as const;
const tables = { kind: 'tables', weightBits: 2 } as const;
const fp16 = { kind: 'fp16' } as const;
const speedup = (run: Run, bits: number) => {
  return lutMilliseconds(run, fp16) / lutMilliseconds(run, { kind: 'tables', weightBits: bits });
};

export function checkLut(): readonly Check[] {
  const check = (figure: string, published: number, ours: number): Check => {
    return { group: 'lut', figure, published, ours, tolerance: 0.15 };
  };
  return [
    check('FP16, BS1 SEQ2048, ms', 106.71, lutMilliseconds(runs.prompt, fp16)),
    { ...check('FP16, BS1024 SEQ1, ms (fitted to)', 41.15, lutMilliseconds(runs.decode, fp16)), tolerance: null },
    check('W2A8, BS1 SEQ2048, ms', 38.02, lutMilliseconds(runs.prompt, tables)),
    check('W2A8, BS1024 SEQ1, ms', 7.47, lutMilliseconds(runs.decode, tables)),
    check('speed-up of W2A8, BS1 SEQ2048', 106.71 / 38.02, speedup(runs.prompt, 2)),
    check('speed-up of W2A8, BS1024 SEQ1: upper end of the range', 5.51, speedup(runs.decode, 2)),
    check('speed-up of W4A8, BS1 SEQ2048: lower end of the range', 2.06, speedup(runs.prompt, 4)),
  ];
}
