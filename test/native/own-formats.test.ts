/** Nibble's own weight formats, and activations chosen for each linear layer. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readModelFile } from '../../src/model/gguf.js';
import { readGgufHeader } from '../../src/model/gguf-reader.js';
import { findTensorFormat } from '../../src/model/gguf-types.js';
import { GgufWriter } from '../../src/model/gguf-writer.js';
import type { ActivationKind, LayerLinears, LookupTokens, TensorSpec } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { type KitOptions, NativeKit } from '../support/native-kit.js';
import { assertSameRows, logitsOf, type Rows, randomTokens } from '../support/native-logits.js';
import { hostLevels, modelFolder, ownModels, planeModels } from '../support/native-models.js';

/** f16 bits → number. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

const TOKENS = 40;
const positions = [0, 17, 39];
let folder: Awaited<ReturnType<typeof modelFolder>>;
const paths = new Map<string, string>();
before(async () => {
  folder = await modelFolder();
  for (const [name, options] of Object.entries({ ...ownModels, ...planeModels })) {
    paths.set(name, await folder.write(name, { ...options, vocab: 288 }));
  }
});
after(() => folder.remove());

async function logits(path: string, options: KitOptions): Promise<Rows> {
  const kit = await NativeKit.open(path, options);
  try {
    return await logitsOf(kit, randomTokens(TOKENS, kit.vocab, 3), [TOKENS], positions);
  } finally {
    await kit.close();
  }
}

/** Values of a tensor by the definition of its format alone. */
function decode(bytes: Buffer, { type, shape }: TensorSpec): Float32Array {
  const format = findTensorFormat(type);
  assert.ok(format);
  const group = format.blockElements;
  const isAffine = format.name.endsWith('A');
  const is8 = format.name.includes('W8');
  const planes = format.name.includes('W4G64P') ? 4 : Number(/W([123])/.exec(format.name)?.[1] ?? 0);
  const out = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for (let i = 0; i < out.length; i += 1) {
    const block = Math.floor(i / group) * format.blockBytes;
    const scale = fromHalf(bytes.readUInt16LE(block));
    const codes = block + (isAffine ? 4 : 2);
    const at = i % group;
    if (planes > 0) {
      const bit = (plane: number) => (bytes.readUInt8(codes + (plane * group) / 8 + (at >> 3)) >> (at & 7)) & 1;
      const code = [0, 1, 2, 3].slice(0, planes).reduce((sum, plane) => sum + bit(plane) * 2 ** plane, 0);
      const middle = (2 ** planes - 1) / 2;
      out[i] = isAffine ? scale * code + fromHalf(bytes.readUInt16LE(block + 2)) : scale * (code - middle);
    } else if (is8) {
      out[i] = scale * bytes.readInt8(codes + at);
    } else {
      const both = bytes.readUInt8(codes + (at % (group / 2)));
      const code = at < group / 2 ? both & 15 : both >> 4;
      out[i] = isAffine ? scale * code + fromHalf(bytes.readUInt16LE(block + 2)) : scale * (code - 8);
    }
  }
  return out;
}

/** The same model with every matrix as f32 values. */
async function asFloats(path: string): Promise<string> {
  const { metadata } = await readGgufHeader(path);
  const { tensors } = await readModelFile(path);
  const content = await readFile(path);
  const target = join(path, '..', 'floats.gguf');
  const writer = await GgufWriter.create(target);
  for (const [key, value] of metadata) if (!key.startsWith('nibble.')) writer.setMetadata(key, value);
  for (const { name, shape } of tensors) writer.declareTensor({ name, shape, type: 0 });
  for (const tensor of tensors) {
    const bytes = content.subarray(tensor.offset);
    const count = tensor.shape.reduce((product, size) => product * size, 1);
    const values = tensor.type === 0 ? null : decode(bytes, tensor);
    if (values !== null) {
      const read = loadAddon().dequantize(path, tensor);
      assert.ok(values.every((value, i) => value === read[i]));
      assert.ok(values.some((value) => value !== 0));
    }
    const data = values === null ? bytes.subarray(0, 4 * count) : Buffer.from(values.buffer);
    await writer.writeTensor(tensor.name, data);
  }
  await writer.finish();
  return target;
}

for (const name of [...Object.keys(ownModels), ...Object.keys(planeModels)]) {
  test(`${name}: values are those of the definition, and f32 activations give the bits of an F32 file`, async () => {
    const path = paths.get(name) ?? '';
    const expected = await logits(await asFloats(path), { activations: 'f32' });
    assertSameRows(await logits(path, { activations: 'f32' }), expected, name);
  });
}

/** Root mean square of the differences over that of the reference. */
function distance(rows: Rows, reference: Rows): number {
  let [errors, squares] = [0, 0];
  for (const [position, wanted] of reference) {
    for (const [i, value] of wanted.entries()) {
      errors += (value - (rows.get(position)?.[i] ?? Number.NaN)) ** 2;
      squares += value ** 2;
    }
  }
  return Math.sqrt(errors / squares);
}

const linearsOf = (down: ActivationKind, others: ActivationKind): readonly LayerLinears[] =>
  [0, 1].map(() => ({
    qkv: { activations: others },
    output: { activations: others },
    gateUp: { activations: others },
    down: { activations: down },
  }));

test('fewer bits mean more error, 4 bits some 18 times that of 8; so do more layers that have them', async () => {
  for (const name of Object.keys(ownModels)) {
    const path = paths.get(name) ?? '';
    const exact = await logits(path, { activations: 'f32' });
    const error = async (options: KitOptions) => distance(await logits(path, options), exact);
    const a8 = await error({ activations: 'a8' });
    const a4 = await error({ activations: 'f32', linears: linearsOf('a4', 'a4'), head: { activations: 'a4' } });
    const a4OfDown = await error({ activations: 'f32', linears: linearsOf('a4', 'f32') });
    assert.ok(a8 > 0 && a8 < 0.03, `a8: ${a8}`);
    assert.ok(a4OfDown > a8 && a4OfDown < a4, `${a8}, ${a4OfDown}, ${a4}`);
    // 127 steps to 7. Half and double that, since errors of 4 bits are too large to add up in proportion.
    assert.ok(a4 / a8 > 9 && a4 / a8 < 36, `a4: ${a4}, a8: ${a8}`);
  }
});

test('bit planes give the same bits looked up and multiplied, on every level and in every chunk', async () => {
  const tokens = (count: number): LookupTokens => ({ w1: count, w2: count, w3: count, w4: count });
  const run = async (path: string, options: KitOptions, chunks: readonly number[]) => {
    const kit = await NativeKit.open(path, { activations: 'a8', ...options });
    try {
      return await logitsOf(kit, randomTokens(TOKENS, kit.vocab, 3), chunks, positions);
    } finally {
      await kit.close();
    }
  };
  for (const name of Object.keys(planeModels)) {
    const path = paths.get(name) ?? '';
    const expected = await run(path, { lookups: tokens(0), level: 'scalar' }, [TOKENS]);
    const error = distance(expected, await logits(path, { activations: 'f32' }));
    assert.ok(error > 0 && error < 0.05, `${name}: ${error}`);
    for (const level of hostLevels) {
      for (const lookups of [tokens(0), tokens(16), { ...tokens(16), w1: 3, w3: 0 }]) {
        assertSameRows(await run(path, { lookups, level }, [16, 1, 3, 20]), expected, `${name}, ${level}`);
      }
    }
  }
  const path = paths.get('planes in groups of 64') ?? '';
  await assert.rejects(NativeKit.open(path, { lookups: tokens(17) }), { code: 'engine_failed' });
});

test('`linears` and `head` mean what `activations` means for all', async () => {
  const path = paths.get('groups of 64') ?? '';
  const expected = await logits(path, { activations: 'a8' });
  const chosen = { activations: 'f32', linears: linearsOf('a8', 'a8'), head: { activations: 'a8' } } as const;
  assertSameRows(await logits(path, chosen), expected, 'linears');
});

test('matrices of one input with groups of two sizes load for f32 activations alone', async () => {
  const types = { q: 'NB_W4G64', k: 'NB_W4G128', v: 'NB_W4G64' } as const;
  const path = await folder.write('two groups', { hidden: 128, ffn: 96, types });
  await logits(path, { activations: 'f32' });
  await assert.rejects(logits(path, { activations: 'a8' }), { code: 'model_tensor_shape' });
});

test('activations that make no sense are refused', async () => {
  const path = paths.get('groups of 64') ?? '';
  const refused = (options: object) => assert.rejects(NativeKit.open(path, options), { code: 'engine_failed' });
  await refused({ linears: linearsOf('a8', 'a8').slice(1) });
  await refused({ linears: 'a8' });
  await refused({ linears: [{}, {}] });
  await refused({ head: { activations: 'a2' } });
  await refused({ head: 'a8' });
});
