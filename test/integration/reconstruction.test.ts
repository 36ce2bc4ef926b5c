/** Block-wise reconstruction: it computes what the engine computes, it lowers errors, and it can go on after a stop. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { BlockMatrix, KvFormat, ReconstructRequest, TensorSpec } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { bytesOf } from '../../src/quant/source.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { NativeKit } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';
import { QuantizeKit, type Run } from '../support/quantize-kit.js';

const shape = { layers: 2, hidden: 64, heads: 4, kvHeads: 2, ffn: 128, vocab: 288 };
const floatEnds = ['classes.head.weights=f32', 'classes.head.activations=f32', 'classes.embedding.weights=f32'];
const run: Run = {
  recipe: 'rcp-w2a4kv4',
  set: [
    ...[...floatEnds, 'calibration.tokens=1024', 'calibration.window=64', 'sweeps=0'],
    ...['reconstruction.steps=40', 'reconstruction.tokens=128', 'reconstruction.rate=0.02'],
  ],
};
let kit: QuantizeKit;
let errors: readonly (readonly [number, number])[];
before(async () => {
  kit = await QuantizeKit.create();
  const f32 = { attention: 'F32', ffn: 'F32', embedding: 'F32' } as const;
  await writeTinyModel(kit.path('model.gguf'), { ...shape, architecture: 'qwen2', types: f32 });
  const done = await kit.run('model.gguf', 'learned.gguf', run);
  const stream = ['rotation=hadamard', 'rounding=rtn', 'clip=none', 'reconstruction.steps=0'];
  await kit.run('model.gguf', 'stream.gguf', { ...run, set: [...(run.set ?? []), ...stream] });
  errors = done.errors.map(({ blockBefore = 0, blockAfter = 0 }) => [blockBefore, blockAfter]);
});
after(() => kit.remove());

const prompt = randomTokens(96, shape.vocab, 11);

/** [layer][token][hidden] of the residual stream behind each layer, by the engine. */
async function hiddenOf(name: string, kv: KvFormat, activations: 'f32' | null): Promise<readonly Float32Array[]> {
  const native = await NativeKit.open(kit.path(name), { activations, kv });
  try {
    const { hidden } = await native.step([{ sequence: native.open(prompt.length), tokens: prompt }], {
      wantHidden: true,
    });
    const size = prompt.length * shape.hidden;
    return Array.from({ length: shape.layers }, (_, layer) => {
      return hidden?.slice(layer * size, (layer + 1) * size) ?? new Float32Array(0);
    });
  } finally {
    await native.close();
  }
}

const sizeOf = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
const distance = (a: Float32Array, b: Float32Array) => sizeOf(a.map((value, i) => value - (b[i] ?? 0))) / sizeOf(b);

/** A layer of a file as a request that learns nothing: only its states are wanted. */
async function layerOf(
  name: string,
  layer: number,
  states: Float32Array,
  activations: 'a4' | 'f32',
  kv: KvFormat,
): Promise<ReconstructRequest> {
  const { architecture, tensors, nibble } = await readModelFile(kit.path(name));
  const rotation = nibble?.recipe.rotation;
  const file = await readFile(kit.path(name));
  const find = (part: string): TensorSpec => {
    const found = tensors.find((tensor) => tensor.name === `blk.${layer}.${part}`);
    assert.ok(found);
    return found;
  };
  const floats = (part: string) => loadAddon().dequantize(kit.path(name), find(part));
  const matrix = (...parts: readonly string[]): BlockMatrix => ({
    weights: Float32Array.from(parts.flatMap((part) => [...floats(`${part}.weight`)])),
    blocks: Buffer.concat(
      parts.map((part) => {
        const tensor = find(`${part}.weight`);
        return file.subarray(tensor.offset, tensor.offset + bytesOf(tensor));
      }),
    ),
    type: find(`${parts[0]}.weight`).type,
    activations,
  });
  const gains = { attention: floats('attn_norm.weight'), ffn: floats('ffn_norm.weight') };
  return {
    ...{ architecture, kv, gains, learnedGains: gains, threads: 2 },
    ...(rotation === undefined ? {} : { rotation }),
    matrices: {
      ...{ qkv: matrix('attn_q', 'attn_k', 'attn_v'), output: matrix('attn_output') },
      ...{ gateUp: matrix('ffn_gate', 'ffn_up'), down: matrix('ffn_down') },
    },
    qkvBias: Float32Array.from(['q', 'k', 'v'].flatMap((of) => [...floats(`attn_${of}.bias`)])),
    ...{ windowTokens: prompt.length, floatStates: states.slice(), states: states.slice() },
    ...{ steps: 0, stepWindows: 1, weightRate: 0, levelRate: 0, gainRate: 0 },
  };
}

/** What the embedding gives for the prompt, rotated if the file's stream is. */
async function embedded(name: string): Promise<Float32Array> {
  const { tensors, nibble } = await readModelFile(kit.path(name));
  const embedding = tensors.find((tensor) => tensor.name === 'token_embd.weight');
  assert.ok(embedding);
  const all = loadAddon().dequantize(kit.path(name), embedding);
  const rows = prompt.flatMap((id) => [...all.subarray(id * shape.hidden, (id + 1) * shape.hidden)]);
  const states = Float32Array.from(rows);
  return nibble?.recipe.rotation !== 'hadamard' ? states : loadAddon().rotateRows(states, shape.hidden, 'forward');
}

test('blocks of floats and of two bits compute what the engine computes', async () => {
  const float = await hiddenOf('model.gguf', 'f16', 'f32');
  let floatStates = await embedded('model.gguf');
  for (let layer = 0; layer < shape.layers; layer += 1) {
    const floats = await layerOf('model.gguf', layer, floatStates, 'f32', 'f16');
    await loadAddon().reconstructBlock(floats);
    floatStates = floats.floatStates;
    // The engine caches 16-bit floats, the float block doesn't round.
    const { [layer]: expected = floatStates } = float;
    assert.ok(distance(floatStates, expected) < 1e-3, `layer ${layer}: ${distance(floatStates, expected)}`);
  }
  // Rounded activations or keys and values, not both: the engine's scores of rounded keys differ in the last bits, and
  // a value that a cache of 4 bits gives back often lies between two codes of four bits.
  for (const name of ['learned.gguf', 'stream.gguf']) {
    for (const [activations, kv] of [
      ['a4', 'f16'],
      ['f32', 'kv4'],
    ] as const) {
      const rounded = await hiddenOf(name, kv, activations === 'f32' ? 'f32' : null);
      let states = await embedded(name);
      for (const [layer, wanted] of rounded.entries()) {
        // From the engine's own input: one code that differs would be passed on.
        const found = await layerOf(name, layer, states, activations, kv);
        await loadAddon().reconstructBlock(found);
        const off = distance(found.states, wanted);
        assert.ok(off < 0.01, `${name}, ${activations} ${kv}, layer ${layer}: ${off}`);
        const plain = await layerOf(name, layer, states, 'f32', 'f16');
        await loadAddon().reconstructBlock(plain);
        assert.ok(distance(plain.states, wanted) > 0.02, `rounding is no detail: ${distance(plain.states, wanted)}`);
        states = wanted;
      }
    }
  }
});

test('what is learned lowers the error, of text that it was not learned from too', async () => {
  for (const [before, after] of errors) assert.ok(after < 0.95 * before, `${before} → ${after}`);
  await kit.run('model.gguf', 'plain.gguf', { ...run, set: [...(run.set ?? []), 'reconstruction.steps=0'] });
  const lastOf = async (name: string, kv: KvFormat, activations: 'f32' | null) =>
    (await hiddenOf(name, kv, activations)).at(-1) ?? new Float32Array(0);
  const float = await lastOf('model.gguf', 'f16', 'f32');
  const plain = distance(await lastOf('plain.gguf', 'kv4', null), float);
  const learned = distance(await lastOf('learned.gguf', 'kv4', null), float);
  assert.ok(learned < 0.985 * plain, `${plain} → ${learned}`);
  const { nibble } = await readModelFile(kit.path('plain.gguf'));
  assert.equal(nibble?.recipe.reconstruction, undefined, 'none was made');
});

test('a stopped reconstruction goes on, to the same bytes', async () => {
  const abort = new AbortController();
  const onProgress: Run['onProgress'] = (phase) => {
    if (phase === 'quantizing') abort.abort();
  };
  await assert.rejects(
    kit.run('model.gguf', 'resumed.gguf', { ...run, onProgress, signal: abort.signal }),
    (error: unknown) => error instanceof NibbleError && error.code === 'interrupted',
  );
  await kit.run('model.gguf', 'resumed.gguf', { ...run, resume: true });
  assert.ok((await kit.bytes('resumed.gguf')).equals(await kit.bytes('learned.gguf')));
});

test('neither threads nor the instruction set change what is learned', async () => {
  const learn = async (threads: number, level: string) => {
    process.env.NIBBLE_ISA = level;
    try {
      const states = Float32Array.from({ length: 3 * 32 * 64 }, (_, i) => Math.sin(i * i));
      const request = await layerOf('learned.gguf', 0, states, 'a4', 'kv4');
      const other = await layerOf('model.gguf', 0, states, 'a4', 'kv4');
      const matrix = (name: 'qkv' | 'output' | 'gateUp' | 'down') => {
        return { ...request.matrices[name], weights: other.matrices[name].weights };
      };
      const { blocks, gains } = await loadAddon().reconstructBlock({
        ...{
          ...request,
          windowTokens: 32,
          threads,
          steps: 3,
          stepWindows: 2,
          weightRate: 0.05,
          levelRate: 0.05,
          gainRate: 0.01,
        },
        matrices: { qkv: matrix('qkv'), output: matrix('output'), gateUp: matrix('gateUp'), down: matrix('down') },
      });
      return { blocks, gains, states: request.states };
    } finally {
      delete process.env.NIBBLE_ISA;
    }
  };
  const scalar = await learn(1, 'scalar');
  assert.ok(
    scalar.gains.ffn.some((gain) => gain !== 1),
    'something was learned',
  );
  for (const level of loadAddon().cpuInfo().levels) assert.deepEqual(await learn(3, level), scalar, level);
});
