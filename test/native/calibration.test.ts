/**
 * Calibration against plain arithmetic in float64: of windows of a single token, attention gives the value itself, so
 * every input of the first layer can be computed here from the file's tensors. Longer windows must keep what holds
 * between the statistics, and not a bit may depend on threads or instruction set.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { type InputStatistics, LAYER_INPUTS, type LayerInput } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { calibrate, type Statistics } from '../../src/quant/calibrate.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';

const shape = { hidden: 96, heads: 3, kvHeads: 1, ffn: 160, layers: 2, vocab: 288 };
const { hidden, heads, ffn, layers, vocab } = shape;
const headDim = hidden / heads;
let folder: string;
let path: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-calibration-'));
  path = await writeTinyModel(join(folder, 'tiny.gguf'), shape);
});
after(() => rm(folder, { recursive: true, force: true }));

type How = KitOptions & { readonly chunkTokens?: number; readonly withHead?: boolean };

async function collect(windows: readonly Int32Array[], how: How = {}): Promise<Statistics> {
  const { chunkTokens, withHead = false, ...options } = how;
  const kit = await NativeKit.open(path, { activations: 'f32', ...options });
  try {
    const hessianLayers = [0, ...(withHead ? [layers] : [])];
    const calibration = await calibrate(kit.model, windows, {
      ...{ layers, hessianLayers, head: withHead },
      ...(chunkTokens === undefined ? {} : { chunkTokens }),
    });
    const statistics = calibration.takeAll();
    calibration.end();
    return statistics;
  } finally {
    await kit.close();
  }
}

const windowsOf = (...lengths: readonly number[]) =>
  lengths.map((length, i) => Int32Array.from(randomTokens(length, vocab, i + 1)));

/** What layer 0 reads for a token at position 0, by the definitions of the architecture. */
async function inputsOfTokens(tokens: readonly number[]): Promise<Record<LayerInput, number[][]>> {
  const { tensors, architecture } = await readModelFile(path);
  const read = (name: string) => {
    const tensor = tensors.find((candidate) => candidate.name === name);
    assert.ok(tensor);
    return loadAddon().dequantize(path, tensor);
  };
  const times = (name: string, x: readonly number[]) => {
    const w = read(`blk.0.${name}.weight`);
    return Array.from({ length: w.length / x.length }, (_, n) =>
      x.reduce((sum, value, k) => sum + value * (w[n * x.length + k] ?? 0), 0),
    );
  };
  const norm = (name: string, x: readonly number[]) => {
    const gain = read(`blk.0.${name}.weight`);
    const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
    return x.map((value, i) => (value / Math.sqrt(mean + architecture.rmsEps)) * (gain[i] ?? 0));
  };
  const embedding = read('token_embd.weight');
  const rows = tokens.map((token) => {
    const x = [...embedding.subarray(token * hidden, (token + 1) * hidden)];
    const qkv = norm('attn_norm', x);
    const value = times('attn_v', qkv);
    const output = Array.from({ length: hidden }, (_, i) => value[i % headDim] ?? 0);
    const attended = times('attn_output', output).map((y, i) => y + (x[i] ?? 0));
    const gateUp = norm('ffn_norm', attended);
    const up = times('ffn_up', gateUp);
    const down = times('ffn_gate', gateUp).map((g, i) => (g / (1 + Math.exp(-g))) * (up[i] ?? 0));
    return { qkv, output, gateUp, down };
  });
  const of = (input: LayerInput) => rows.map((row) => row[input]);
  return { qkv: of('qkv'), output: of('output'), gateUp: of('gateUp'), down: of('down') };
}

test('statistics of single tokens are those of the layer’s inputs', async () => {
  const tokens = randomTokens(37, vocab, 5);
  const { layers: collected, tokens: count } = await collect(tokens.map((token) => Int32Array.of(token)));
  assert.equal(count, tokens.length);
  const expected = await inputsOfTokens(tokens);
  for (const input of LAYER_INPUTS) {
    const rows = expected[input];
    const found = collected[0]?.[input];
    assert.ok(found?.hessian);
    const width = input === 'down' ? ffn : hidden;
    assert.deepEqual([found.inputs, found.tokens], [width, tokens.length]);
    const size = Math.max(...rows.flat().map(Math.abs));
    // Values are cached as f16, an error of 2⁻¹¹ at most, which later inputs inherit.
    const near = (a: number | undefined, b: number, scale: number, what: string) =>
      assert.ok(Math.abs((a ?? Number.NaN) - b) < 2e-3 * scale, `${input} ${what}: ${a} for ${b}`);
    for (let i = 0; i < width; i += 1) {
      const channel = rows.map((row) => row[i] ?? 0);
      near(found.minima[i], Math.min(...channel), size, `minimum ${i}`);
      near(found.maxima[i], Math.max(...channel), size, `maximum ${i}`);
      near(
        found.squares[i],
        channel.reduce((sum, x) => sum + x * x, 0),
        size * size * rows.length,
        `squares ${i}`,
      );
      for (let j = 0; j < width; j += 1) {
        const product = rows.reduce((sum, row) => sum + (row[i] ?? 0) * (row[j] ?? 0), 0);
        near(found.hessian[i * width + j], product, size * size * rows.length, `product ${i}, ${j}`);
      }
    }
    const bins = new Float64Array(64);
    for (const row of rows) {
      const bin = 32 + Math.floor(Math.log2(Math.max(...row.map(Math.abs))));
      bins[bin] = (bins[bin] ?? 0) + 1;
    }
    const moved = bins.reduce((sum, n, i) => sum + Math.abs(n - (found.magnitudes[i] ?? 0)), 0);
    assert.ok(moved <= 2, `${input}: a token at a border of two bins at most may be in the other`);
  }
});

test('not a bit depends on threads or the instruction set', async () => {
  const windows = windowsOf(40, 77, 1);
  const expected = await collect(windows, { threads: 1, level: 'scalar', chunkTokens: 32, withHead: true });
  for (const level of loadAddon().cpuInfo().levels) {
    const options = { threads: 2, level, chunkTokens: 32, withHead: true };
    assert.deepEqual(await collect(windows, options), expected, level);
  }
});

test('chunks, sums and products of longer windows agree with each other', async () => {
  const windows = windowsOf(64, 600, 33);
  const whole = await collect(windows, { contextTokensMax: 1024, withHead: true });
  const parts = await collect(windows, { contextTokensMax: 1024, withHead: true, chunkTokens: 256 });
  assert.deepEqual([whole.chunks, parts.chunks, parts.tokens], [1, 4, 697]);
  const pairs: (readonly [InputStatistics, InputStatistics])[] = LAYER_INPUTS.flatMap((input) =>
    whole.layers.map((layer, i) => [layer[input], (parts.layers[i] ?? layer)[input]] as const),
  );
  // The first token of a text is like no other: the first chunk is its own, and no token behind it changes it.
  const firsts = await collect(windows.map((window) => window.slice(0, 1)));
  for (const [i, layer] of parts.layers.entries()) {
    for (const input of LAYER_INPUTS) {
      const [chunked, first] = [layer[input], firsts.layers[i]?.[input]];
      assert.deepEqual(chunked.minima.slice(0, chunked.inputs), first?.minima);
      assert.deepEqual(chunked.maxima.slice(0, chunked.inputs), first?.maxima);
    }
  }
  assert.ok(whole.head !== null && parts.head !== null);
  for (const [all, chunked] of [...pairs, [whole.head, parts.head] as const]) {
    const { inputs, squares, hessian, minima, maxima } = all;
    for (let i = 0; i < inputs; i += 1) {
      const of = (values: Float32Array) => [0, 1, 2, 3].map((chunk) => values[chunk * inputs + i] ?? Number.NaN);
      // The head's rows come without positions: all are of the first chunk.
      assert.equal(Math.min(...of(chunked.minima)), minima[i]);
      assert.equal(Math.max(...of(chunked.maxima)), maxima[i]);
      if (hessian === null) continue;
      const square = squares[i] ?? 0;
      assert.ok(Math.abs((hessian[i * inputs + i] ?? 0) - square) <= 1e-5 * square, 'the diagonal is Σ x²');
      for (let j = 0; j < i; j += 1) assert.equal(hessian[i * inputs + j], hessian[j * inputs + i]);
    }
    assert.equal(
      all.magnitudes.reduce((sum, n) => sum + n, 0),
      697,
    );
  }
  assert.ok(whole.layers[0]?.qkv.hessian && whole.layers[1]?.qkv.hessian === null, 'of the layers asked for alone');
});

test('a Hessian is handed out once; observation ends; misuse is refused', async () => {
  const kit = await NativeKit.open(path, { activations: 'f32' });
  const refused = { code: 'native_invalid_argument' };
  const options = { chunkTokens: 64, chunks: 1, hessianLayers: Int32Array.of(0) };
  try {
    assert.throws(() => kit.model.takeStatistics(0, 'qkv'), refused);
    const calibration = await calibrate(kit.model, windowsOf(9), { layers, hessianLayers: [0] });
    assert.ok(calibration.take(0, 'qkv').hessian);
    assert.equal(calibration.take(0, 'qkv').hessian, null);
    assert.throws(() => kit.model.takeStatistics(0, 'head'), refused);
    assert.throws(() => kit.model.takeStatistics(layers, 'qkv'), refused);
    assert.throws(() => kit.model.takeStatistics(0.5, 'qkv'), refused);
    calibration.end();
    assert.throws(() => kit.model.takeStatistics(0, 'qkv'), refused);
    for (const wrong of [{ chunks: 0 }, { chunkTokens: 0 }, { hessianLayers: Int32Array.of(layers + 1) }]) {
      assert.throws(() => kit.model.startCalibration({ ...options, ...wrong }), refused);
    }
    const sequence = kit.open(4);
    const running = kit.step([{ sequence, tokens: [1, 2] }]);
    assert.throws(() => kit.model.startCalibration(options), refused, 'a step is in flight');
    await running;
  } finally {
    await kit.close();
  }
  const quantized = await NativeKit.open(path, { activations: 'a8' });
  assert.throws(() => quantized.model.startCalibration(options), refused, 'activations are quantized');
  await quantized.close();
  assert.throws(() => quantized.model.startCalibration(options), { code: 'native_closed' });
});
