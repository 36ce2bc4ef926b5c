/** Gradients of a transformer block: against differences of its own outputs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ArchitectureSpec, ReconstructRequest, RopeSpec } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { Random } from '../../src/random.js';

const WINDOW = 32;
const layouts = ['interleaved', 'halves'] as const;

function spec(layout: RopeSpec['layout']): ArchitectureSpec {
  return {
    ...{ layers: 1, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 192, vocab: 32, contextLength: 64 },
    ...{ rmsEps: 1e-5, qkvBias: true, qkNorm: false },
    rope: { layout, dimensions: 16, base: 100, scaling: { kind: 'none' } },
  };
}

type Weights = Readonly<Record<'qkv' | 'output' | 'gateUp' | 'down' | 'attention' | 'ffn', Float32Array>>;

function someWeights(random: Random): Weights {
  const values = (count: number, size: number, middle = 0) =>
    Float32Array.from({ length: count }, () => middle + size * (random.below(2001) / 1000 - 1));
  return {
    ...{ qkv: values(128 * 64, 0.3), output: values(64 * 64, 0.3), gateUp: values(384 * 64, 0.3) },
    ...{ down: values(64 * 192, 0.3), attention: values(64, 0.5, 1), ffn: values(64, 0.5, 1) },
  };
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.slice().buffer);

/** The "quantized" block has float weights, so that its outputs are smooth in them. */
function requestOf(architecture: ArchitectureSpec, weights: Weights, states: Float32Array): ReconstructRequest {
  const rotates = architecture.rope.layout === 'halves';
  const matrix = (name: 'qkv' | 'output' | 'gateUp' | 'down') =>
    ({ weights: weights[name], blocks: bytesOf(weights[name]), type: 0, activations: 'f32' }) as const;
  const gains = { attention: weights.attention, ffn: weights.ffn };
  return {
    ...{
      architecture,
      ...(rotates ? { rotation: 'inputs' } : {}),
      kv: 'f16',
      windowTokens: WINDOW,
      threads: 2,
      gains,
      learnedGains: gains,
    },
    matrices: { qkv: matrix('qkv'), output: matrix('output'), gateUp: matrix('gateUp'), down: matrix('down') },
    qkvBias: Float32Array.from({ length: 128 }, (_, i) => (i % 7) / 10 - 0.3),
    ...{ floatStates: states.slice(), states, steps: 0, stepWindows: 1, weightRate: 0, levelRate: 0, gainRate: 0 },
  };
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

for (const layout of layouts) {
  test(`gradients are what small changes of the weights do (RoPE ${layout}${layout === 'halves' ? ', rotated' : ''})`, async () => {
    const random = new Random(5);
    const architecture = spec(layout);
    const weights = someWeights(random);
    const uniform = (length: number) => Float32Array.from({ length }, () => random.below(2001) / 1000 - 1);
    const states = uniform(WINDOW * 64);
    const gradient = uniform(WINDOW * 64);
    const run = (changed: Weights) => loadAddon().blockGradients(requestOf(architecture, changed, states), gradient);
    const found = await run(weights);
    const gradients: Weights = { ...found, ...found.gains };
    for (const name of ['qkv', 'output', 'gateUp', 'down', 'attention', 'ffn'] as const) {
      const own = gradients[name];
      const length = Math.sqrt(dot(own, own));
      // Along the gradient itself, and somewhere else. Keys and values are 16-bit floats, so outputs have steps: what
      // is in front of them has to move further.
      const away = uniform(own.length);
      for (const direction of [
        own.map((value) => value / length),
        away.map((v, i) => v + ((own[i] ?? 0) * 4) / length),
      ]) {
        const size = (name === 'attention' ? 0.05 : 0.02) / Math.sqrt(dot(direction, direction));
        const moved = (sign: number) =>
          run({ ...weights, [name]: weights[name].map((value, i) => value + sign * size * (direction[i] ?? 0)) });
        const [above, below] = [await moved(1), await moved(-1)];
        const measured = (dot(above.out, gradient) - dot(below.out, gradient)) / (2 * size);
        const expected = dot(own, direction);
        const off = Math.abs(measured - expected) / (length * Math.sqrt(dot(direction, direction)));
        assert.ok(off < 0.02, `${name}: ${measured}, expected ${expected}`);
      }
    }
  });
}
