/** Quantizing end to end on small models: what is written, that it runs, and what is refused. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { encodeTensor } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import { readGgufHeader } from '../../src/model/gguf-reader.js';
import { tensorTypeName } from '../../src/model/gguf-types.js';
import { kernelFamily } from '../../src/model/kernel-family.js';
import { fileSha256 } from '../../src/model/sources/cache.js';
import type { IsaLevel } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { quantizeTogether } from '../../src/quant/quantize-tensors.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { NativeKit } from '../support/native-kit.js';
import { prefill, randomTokens } from '../support/native-logits.js';
import { logitsOf, QuantizeKit } from '../support/quantize-kit.js';

const calibration = ['calibration.tokens=128', 'calibration.window=32'];
let kit: QuantizeKit;
before(async () => {
  kit = await QuantizeKit.create();
  await writeTinyModel(kit.path('q4.gguf'), { layers: 3, tied: false, qkvBias: true });
  const f32 = { attention: 'F32', ffn: 'F32', embedding: 'F32', output: 'F32' } as const;
  await writeTinyModel(kit.path('f32.gguf'), { layers: 3, types: f32, ffn: 128, hidden: 64 });
});
after(() => kit.remove());

const refusal = (code: string) => (error: unknown) => error instanceof NibbleError && error.code === code;

test('floats of quantized weights compute the same bits as the quantized weights themselves', async () => {
  await kit.run('q4.gguf', 'floats.gguf', { recipe: 'f16', set: floatsEverywhere });
  assert.deepEqual(await logitsOf(kit.path('floats.gguf')), await logitsOf(kit.path('q4.gguf'), 'f32'));
});
test('rows with a scale of their own are whole bytes, whatever the shape', async () => {
  // 576 rows of 772 bytes: bytes ÷ values × values isn't exact.
  const matrix = { name: 'blk.0.ffn_down.weight', shape: [1536, 576], values: new Float32Array(1536 * 576).fill(1) };
  const settings = { rounding: 'rtn', clip: 'none' } as const;
  const { tensors } = await quantizeTogether([matrix, matrix], 'w4row', settings, null);
  assert.deepEqual(
    tensors.map(({ data }) => (data instanceof Uint8Array ? data.length : 0)),
    [576 * 772, 576 * 772],
  );
});
const floatsEverywhere = ['classes.*.weights=f32', 'classes.head.weights=f32', 'classes.embedding.weights=f32'];

test('tensors that are in the format already stay as they are; metadata and tokenizer too', async () => {
  await kit.run('q4.gguf', 'copy.gguf', { recipe: 'w4a8', set: ['rounding=rtn'] });
  assert.deepEqual(await logitsOf(kit.path('copy.gguf')), await logitsOf(kit.path('q4.gguf'), 'a8'));
  const [source, copy] = [await readGgufHeader(kit.path('q4.gguf')), await readGgufHeader(kit.path('copy.gguf'))];
  const [sourceBytes, copyBytes] = [await kit.bytes('q4.gguf'), await kit.bytes('copy.gguf')];
  for (const [key, [start, end]] of source.valueRanges) {
    const [from = 0, to = 0] = copy.valueRanges.get(key) ?? [];
    assert.ok(sourceBytes.subarray(start, end).equals(copyBytes.subarray(from, to)), key);
  }
  assert.deepEqual(
    copy.tensors.map(({ name, type, shape }) => ({ name, type, shape })),
    source.tensors.map(({ name, type, shape }) => ({ name, type, shape })),
  );
  const own = [...copy.metadata.keys()].filter((key) => !source.metadata.has(key));
  assert.deepEqual(own, [
    'general.quantization_version',
    'nibble.format_version',
    'nibble.recipe',
    'nibble.source.sha256',
    'nibble.tool.version',
    'nibble.seed',
  ]);
});

test('rounding to nearest gives the bytes of the tools that made the format common', async () => {
  const set = ['classes.*.weights=w8g32', 'classes.down.weights=w4g32', 'classes.gateUp.weights=w4g32a', 'clip=none'];
  const { plan } = await kit.run('f32.gguf', 'rtn.gguf', { recipe: 'w8a8', set });
  assert.deepEqual(plan.notes, []);
  const [source, file] = [await readModelFile(kit.path('f32.gguf')), await readModelFile(kit.path('rtn.gguf'))];
  const bytes = await kit.bytes('rtn.gguf');
  const expected = {
    attn_q: 'Q8_0',
    attn_output: 'Q8_0',
    ffn_up: 'Q4_1',
    ffn_down: 'Q4_0',
    token_embd: 'Q8_0',
  } as const;
  for (const tensor of file.tensors) {
    const type = expected[tensor.name.split('.').at(-2) as keyof typeof expected];
    if (type === undefined) continue;
    assert.equal(tensorTypeName(tensor.type), type, tensor.name);
    const original = source.tensors.find(({ name }) => name === tensor.name);
    assert.ok(original);
    const want = encodeTensor(type, loadAddon().dequantize(kit.path('f32.gguf'), original));
    assert.ok(bytes.subarray(tensor.offset, tensor.offset + want.length).equals(want), tensor.name);
  }
});

test('places of a recipe become layers of the model: the last of three has its gate and up in five bits', async () => {
  const { plan } = await kit.run('f32.gguf', 'mix.gguf', { recipe: 'w4mix', set: ['rounding=rtn', 'clip=none'] });
  const fine = { weights: 'w5g32', activations: 'a8' } as const;
  assert.deepEqual([plan.recipe.spans, plan.recipe.layers], [undefined, { 2: { gateUp: fine } }]);
  const { tensors, nibble } = await readModelFile(kit.path('mix.gguf'));
  assert.deepEqual(nibble?.recipe, plan.recipe);
  const typesOf = (part: string) =>
    tensors.flatMap(({ name, type }) => (name.endsWith(`${part}.weight`) ? [tensorTypeName(type)] : []));
  assert.deepEqual(typesOf('attn_v'), ['Q5_0', 'Q5_0', 'Q5_0']);
  for (const part of ['ffn_gate', 'ffn_up']) assert.deepEqual(typesOf(part), ['NB_W4G64A', 'NB_W4G64A', 'Q5_0']);
  for (const part of ['attn_output', 'ffn_down']) assert.deepEqual(new Set(typesOf(part)), new Set(['NB_W4G64A']));
});

test('Tender: the file has the order and steps of every input, and computes near the floats', async () => {
  const squares = (values: readonly number[]) => values.reduce((sum, value) => sum + value * value, 0);
  const exact = (await logitsOf(kit.path('f32.gguf'), 'f32')).flat();
  for (const [name, most, type, steps] of [
    ['tender-int8', 0.1, 'NB_W8ROW', 'token'],
    ['tender-int4', 1, 'NB_W4ROW', 'chunk'],
  ] as const) {
    await kit.run('f32.gguf', `${name}.gguf`, {
      recipe: name,
      set: ['calibration.tokens=1024', 'calibration.window=64', `tender.steps=${steps}`],
    });
    const { tensors } = await readModelFile(kit.path(`${name}.gguf`));
    const parts = tensors.filter((tensor) => tensor.name.includes('.tender_')).length;
    // Order and sizes of 4 inputs of 3 layers, scales if rows don't choose them; bias and offset of the two that come
    // from norms.
    assert.equal(parts, 3 * (4 * (steps === 'chunk' ? 3 : 2) + 2 * 2));
    assert.ok(tensors.every((tensor) => !tensor.name.includes('ffn_down') || tensorTypeName(tensor.type) === type));
    const errorOf = (found: readonly number[]) =>
      Math.sqrt(squares(found.map((value, i) => value - (exact[i] ?? 0))) / squares(exact));
    const weights = errorOf((await logitsOf(kit.path(`${name}.gguf`), 'f32')).flat());
    const both = errorOf((await logitsOf(kit.path(`${name}.gguf`))).flat());
    assert.ok(weights > 0 && weights < most && both > weights && both < 4 * most, `${name}: ${weights}, ${both}`);
  }
});

test('the file says where it comes from and serves as its recipe says', async () => {
  const set = ['classes.down.activations=f32', 'layers.1.qkv.activations=f32', 'rounding=rtn'];
  const { sourceSha256 } = await kit.run('f32.gguf', 'mixed.gguf', { recipe: 'w4a8', set });
  const { nibble } = await readModelFile(kit.path('mixed.gguf'));
  assert.equal(sourceSha256, await fileSha256(kit.path('f32.gguf')));
  assert.equal(nibble?.provenance.sourceSha256, sourceSha256);
  assert.equal(nibble?.provenance.toolVersion, '1.2.3');
  assert.equal(nibble?.recipe.layers?.[1]?.qkv?.activations, 'f32');
  const [mixed, a8, f32] = [
    await logitsOf(kit.path('mixed.gguf')),
    await logitsOf(kit.path('mixed.gguf'), 'a8'),
    await logitsOf(kit.path('mixed.gguf'), 'f32'),
  ];
  assert.notDeepEqual(mixed, a8);
  assert.notDeepEqual(mixed, f32);
});

test('groups that do not divide a width become smaller, and the file says so', async () => {
  const { plan } = await kit.run('f32.gguf', 'groups.gguf', {
    recipe: 'w4a8-g128',
    set: ['rounding=rtn', 'clip=none'],
  });
  assert.equal(plan.notes.length, 3);
  const types = (await readModelFile(kit.path('groups.gguf'))).tensors.map(({ name, type }) => [
    name,
    tensorTypeName(type),
  ]);
  const typeOf = Object.fromEntries(types);
  assert.equal(typeOf['blk.0.ffn_down.weight'], 'NB_W4G128A');
  assert.equal(typeOf['blk.2.attn_q.weight'], 'NB_W4G64A');
  assert.ok((await logitsOf(kit.path('groups.gguf'))).flat().every(Number.isFinite));
});

test('GPTQ on a text and on what the model writes itself: repeatable, and better than rounding to nearest', async () => {
  const text = await kit.write('text.txt', 'the quick brown fox jumps over the lazy dog. '.repeat(40));
  const run = { recipe: 'w4a8-sym', set: calibration };
  const self = await kit.run('f32.gguf', 'self.gguf', run);
  await kit.run('f32.gguf', 'self-again.gguf', run);
  assert.ok((await kit.bytes('self.gguf')).equals(await kit.bytes('self-again.gguf')));
  assert.match(self.calibrationSha256 ?? '', /^[0-9a-f]{64}$/);
  const other = await kit.run('f32.gguf', 'seed.gguf', { ...run, set: [...calibration, 'calibration.seed=2'] });
  assert.notEqual(other.calibrationSha256, self.calibrationSha256);

  const byText = await kit.run('f32.gguf', 'text.gguf', { ...run, calibration: text });
  assert.equal(byText.calibrationSha256, await fileSha256(text));
  assert.equal((await readModelFile(kit.path('text.gguf'))).nibble?.recipe.calibration.source, 'text');
  const nearest = await kit.run('f32.gguf', 'nearest.gguf', {
    ...run,
    set: [...calibration, 'rounding=rtn', 'clip=mse'],
  });
  const lost = ({ errors }: typeof byText) => errors.reduce((sum, layer) => sum + (layer.down ?? 0), 0);
  assert.ok(lost(self) < lost(nearest), `${lost(self)} < ${lost(nearest)}`);
});

test('channels are scaled in the weights and in what makes their inputs: floats compute nearly the same', async () => {
  const plain = (await logitsOf(kit.path('f32.gguf'), 'f32')).flat();
  const size = Math.sqrt(plain.reduce((sum, value) => sum + value * value, 0));
  for (const scaling of ['trip', 'smooth', 'awq']) {
    const set = [...calibration, ...floatsEverywhere, `scaling=${scaling}`, 'rounding=rtn'];
    await kit.run('f32.gguf', `${scaling}.gguf`, { recipe: 'f16', set });
    const scaled = (await logitsOf(kit.path(`${scaling}.gguf`))).flat();
    const off = Math.sqrt(scaled.reduce((sum, value, i) => sum + (value - (plain[i] ?? 0)) ** 2, 0)) / size;
    // Keys and values are cached as f16: those of V are rounded elsewhere once they are scaled.
    assert.ok(off < 1e-3, `${scaling}: ${off}`);
    const bytes = await kit.bytes(`${scaling}.gguf`);
    if (scaling !== 'awq') assert.ok(!bytes.equals(await kit.bytes('f32.gguf')));
  }
  await assert.rejects(kit.run('trip.gguf', 'twice.gguf', { recipe: 'w8a8' }), refusal('invalid_request'));
});

test('rotation: floats compute nearly the same; what four levels lose, learned ones lose less of', async () => {
  const plain = (await logitsOf(kit.path('f32.gguf'), 'f32')).flat();
  const sizeOf = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const offOf = (found: readonly number[]) => sizeOf(found.map((v, i) => v - (plain[i] ?? 0))) / sizeOf(plain);
  for (const place of ['hadamard', 'inputs']) {
    await kit.run('f32.gguf', `${place}.gguf`, { recipe: 'f16', set: [...floatsEverywhere, `rotation=${place}`] });
    const rotated = offOf((await logitsOf(kit.path(`${place}.gguf`))).flat());
    // Keys and values are cached as f16: those of V are rounded elsewhere.
    assert.ok(rotated > 0 && rotated < 1e-3, `${place}: ${rotated}`);
  }
  await assert.rejects(kit.run('inputs.gguf', 'twice.gguf', { recipe: 'w8a8' }), refusal('invalid_request'));
  await writeTinyModel(kit.path('odd.gguf'), { layers: 1, hidden: 64, ffn: 96 });
  await assert.rejects(kit.run('odd.gguf', 'no.gguf', { recipe: 'rcp-w2a4' }), refusal('recipe_invalid'));
  const run = async (name: string, set: readonly string[]) => {
    const short = [...calibration, 'reconstruction.steps=0'];
    const done = await kit.run('f32.gguf', `${name}.gguf`, { recipe: 'rcp-w2a16', set: [...short, ...set] });
    assert.equal((await readModelFile(kit.path(`${name}.gguf`))).nibble?.recipe.rotation, 'inputs');
    return done.errors.reduce((sum, layer) => sum + (layer.down ?? 0), 0);
  };
  const [even, learned] = [await run('even', ['levels=even', 'sweeps=0']), await run('learned', ['sweeps=0'])];
  const swept = await run('swept', []);
  assert.ok(swept < learned && learned < even, `${swept} < ${learned} < ${even}`);
  assert.ok((await logitsOf(kit.path('swept.gguf'))).flat().every(Number.isFinite));
});

test('a rotated codebook file has the same logits on every level, with any number of threads', async () => {
  const set = [...calibration, 'rounding=rtn', 'sweeps=0', 'reconstruction.steps=0'];
  await kit.run('f32.gguf', 'four.gguf', { recipe: 'rcp-w2a4kv4', set });
  const logits = async (level: IsaLevel, threads: number) => {
    const native = await NativeKit.open(kit.path('four.gguf'), { level, threads, activations: null, kv: 'kv4' });
    try {
      return await prefill(native, native.open(48), randomTokens(40, native.vocab, 7), [24, 16], [0, 13, 37, 39]);
    } finally {
      await native.close();
    }
  };
  const scalar = await logits('scalar', 1);
  for (const level of loadAddon().cpuInfo().levels) assert.deepEqual(await logits(level, 2), scalar, level);
});

test('scaled weights are quantized with the statistics of the scaled inputs', async () => {
  const run = (out: string, scaling: string) =>
    kit.run('f32.gguf', out, { recipe: 'w4a8-sym', set: [...calibration, 'rounding=rtn', `scaling=${scaling}`] });
  const [plain, awq] = [await run('plain.gguf', 'none'), await run('awq4.gguf', 'awq')];
  const lost = ({ errors }: typeof plain) => errors.reduce((sum, layer) => sum + (layer.down ?? 0), 0);
  assert.ok(lost(awq) <= 1.05 * lost(plain), `${lost(awq)} against ${lost(plain)}`);
  assert.ok((await logitsOf(kit.path('awq4.gguf'))).flat().every(Number.isFinite));
});

test('agile: the file has a threshold for each layer, and rows below or above them are computed with 4 bits', async () => {
  const set = [...calibration, 'rounding=rtn', 'clip=none', 'agile.share=0.5'];
  await kit.run('f32.gguf', 'agile.gguf', { recipe: 'agile', set });
  const thresholds = (await readModelFile(kit.path('agile.gguf'))).nibble?.recipe.agile?.thresholds ?? [];
  assert.equal(thresholds.length, 3);
  assert.ok(
    thresholds.every((value) => value > 0),
    'half of the tokens lie on either side',
  );
  const [agile, a8] = [await logitsOf(kit.path('agile.gguf')), await logitsOf(kit.path('agile.gguf'), 'a8')];
  assert.notDeepEqual(agile, a8);
});

test('what can not be done is refused before anything is written', async () => {
  const text = await kit.write('short.txt', 'too short');
  await kit.write('there.gguf', 'precious');
  await kit.write('nonsense.gguf', 'nonsense');
  const refuses = (code: string, model: string, out: string, run: Parameters<QuantizeKit['run']>[2]) =>
    assert.rejects(kit.run(model, out, run), refusal(code), code);
  await refuses('output_exists', 'f32.gguf', 'there.gguf', { recipe: 'w8a8' });
  assert.equal(String(await kit.bytes('there.gguf')), 'precious');
  await refuses('model_file_not_found', 'missing.gguf', 'x.gguf', { recipe: 'w8a8' });
  await refuses('model_file_invalid', 'nonsense.gguf', 'x.gguf', { recipe: 'w8a8' });
  await refuses('recipe_invalid', 'f32.gguf', 'x.gguf', { recipe: 'w8a8', set: ['layers.3.qkv.weights=w4g32'] });
  await refuses('recipe_invalid', 'f32.gguf', 'x.gguf', { recipe: 'w4a8', set: ['calibration.window=1024'] });
  await refuses('data_too_short', 'f32.gguf', 'x.gguf', { recipe: 'w4a8', calibration: text });
  await refuses('data_unreadable', 'f32.gguf', 'x.gguf', { recipe: 'w4a8', calibration: kit.path('none.txt') });
  await refuses('output_unwritable', 'f32.gguf', 'no-folder/x.gguf', { recipe: 'w8a8' });
  assert.ok(!existsSync(kit.path('x.gguf')));
});

test('every family of kernels has a pair of formats that leads to it', () => {
  const types = ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q4_K', 'Q8_0', 'Q5_1', 'Q5_K', 'Q6_K', 'Q2_K'];
  const own = ['NB_W4G64', 'NB_W4G64A', 'NB_W4G128', 'NB_W4G128A', 'NB_W8G64', 'NB_W8G128', 'NB_W2G64C'];
  const planes = ['NB_W1G64', 'NB_W2G64A', 'NB_W3G128', 'NB_W4G64P', 'NB_T2G64', 'TQ1_0'];
  const led = [...types, ...own, ...planes].flatMap((type) => [kernelFamily(type, 'a8'), kernelFamily(type, 'f32')]);
  const families = new Set(loadAddon().kernelFamilies());
  for (const family of led) assert.ok(family !== null && families.has(family), String(family));
});
