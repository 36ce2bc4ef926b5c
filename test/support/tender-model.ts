/** Writes Tender files, and their float counterparts, from any model file; rows rounded to nearest by definition. */
import { readModelFile } from '../../src/model/gguf.js';
import { readGgufHeader } from '../../src/model/gguf-reader.js';
import { GgufWriter } from '../../src/model/gguf-writer.js';
import { nibbleMetadata } from '../../src/model/nibble-metadata.js';
import { LINEAR_INPUTS, type LinearInput } from '../../src/native/input-study.js';
import { loadAddon } from '../../src/native/load.js';
import { namedRecipes } from '../../src/quant/named-recipes.js';
import type { TenderPlan } from '../../src/quant/tender/plan.js';
import { applyTender, type TenderFileTensor } from '../../src/quant/tender/transform.js';
import { matricesOf } from '../../src/quant/tender/weight-peaks.js';

export type TenderBits = 4 | 8;

/** A row as NB_W8ROW or NB_W4ROW, and the values that it stands for. */
function roundRow(row: Float32Array, bits: TenderBits): { readonly bytes: Buffer; readonly values: Float32Array } {
  const limit = bits === 8 ? 127 : 7;
  const scale = Math.fround(row.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / limit);
  const codes = Array.from(row, (value) => (scale === 0 ? 0 : Math.round(value / scale)));
  const bytes = Buffer.alloc(4 + (row.length * bits) / 8);
  bytes.writeFloatLE(scale);
  codes.forEach((code, k) => {
    if (bits === 8) bytes.writeInt8(code, 4 + k);
    else {
      const at = 4 + Math.floor(k / 32) * 16 + (k % 16);
      bytes.writeUInt8(bytes.readUInt8(at) | ((code + 8) << (k % 32 < 16 ? 0 : 4)), at);
    }
  });
  return { bytes, values: Float32Array.from(codes, (code) => Math.fround(code * scale)) };
}

type Rounded = { readonly bytes: Buffer; readonly values: Float32Array };

function roundMatrix(matrix: Float32Array, width: number, bits: TenderBits): Rounded {
  const rows = Array.from({ length: matrix.length / width }, (_, n) =>
    roundRow(matrix.subarray(n * width, (n + 1) * width), bits),
  );
  const values = new Float32Array(matrix.length);
  rows.forEach((row, n) => {
    values.set(row.values, n * width);
  });
  return { bytes: Buffer.concat(rows.map(({ bytes }) => bytes)), values };
}

/** The rounded weights with their columns back at their channels. */
function restored(values: Float32Array, order: Int32Array): Float32Array {
  const width = order.length;
  const out = new Float32Array(values.length);
  values.forEach((value, i) => {
    out[i - (i % width) + (order[i % width] ?? 0)] = value;
  });
  return out;
}

/**
 * Writes `source` with the weights of its layers by `plans` [4 · layer + input] to `tender`, and to `floats` (if given)
 * as F32 with the same rounded values in their usual order, where the bias' share of the outputs isn't needed.
 */
export async function writeTender(
  source: string,
  plans: readonly TenderPlan[],
  bits: TenderBits,
  { tender, floats }: { readonly tender: string; readonly floats?: string },
): Promise<void> {
  const file = await readModelFile(source);
  const { metadata } = await readGgufHeader(source);
  const made = new Map<string, Rounded>();
  const plain = new Map<string, Float32Array>();
  const added: TenderFileTensor[] = [];
  const read = (name: string) => {
    const tensor = file.tensors.find((one) => one.name === name);
    if (tensor === undefined) throw new Error(`no tensor ${name}`);
    return loadAddon().dequantize(source, tensor);
  };
  for (let layer = 0; layer < file.architecture.layers; layer += 1) {
    for (const [index, input] of LINEAR_INPUTS.entries()) {
      const plan = plans[4 * layer + index];
      if (plan === undefined) throw new Error('a plan for every input');
      const names = matricesOf[input satisfies LinearInput].map((name) => `blk.${layer}.${name}.weight`);
      const matrices = names.map(read);
      added.push(...applyTender(layer, input, plan, matrices));
      names.forEach((name, i) => {
        const rounded = roundMatrix(matrices[i] ?? new Float32Array(0), plan.order.length, bits);
        made.set(name, rounded);
        plain.set(name, restored(rounded.values, plan.order));
      });
    }
  }
  const recipe = namedRecipes.get(`tender-int${bits}`)?.recipe;
  if (recipe === undefined) throw new Error('no recipe');
  const provenance = { sourceSha256: '0'.repeat(64), calibrationSha256: null, toolVersion: 'test', seed: 1n };
  const copy = async (path: string, isTender: boolean) => {
    const writer = await GgufWriter.create(path);
    for (const [key, value] of metadata) if (key !== 'general.alignment') writer.setMetadata(key, value);
    if (isTender) for (const [key, value] of nibbleMetadata(recipe, provenance)) writer.setMetadata(key, value);
    for (const { name, shape, type } of file.tensors) {
      const own = made.has(name) ? (bits === 8 ? 20010 : 20011) : type;
      writer.declareTensor({ name, shape, type: isTender ? own : 0 });
    }
    if (isTender) for (const tensor of added) writer.declareTensor(tensor);
    for (const tensor of file.tensors) {
      const { name } = tensor;
      const values = plain.get(name) ?? (isTender ? null : read(name));
      const bytes = made.get(name)?.bytes;
      if (isTender && bytes !== undefined) await writer.writeTensor(name, bytes);
      else if (!isTender && values !== null) await writer.writeTensor(name, Buffer.from(values.buffer));
      else await writer.writeTensor(name, await rawBytes(source, tensor));
    }
    if (isTender) for (const { name, data } of added) await writer.writeTensor(name, data);
    await writer.finish();
  };
  await copy(tender, true);
  if (floats !== undefined) await copy(floats, false);
}

async function rawBytes(
  path: string,
  { offset, type, shape }: { readonly offset: number; readonly type: number; readonly shape: readonly number[] },
): Promise<Buffer> {
  const { open } = await import('node:fs/promises');
  const { findTensorFormat, tensorBytes } = await import('../../src/model/gguf-types.js');
  const format = findTensorFormat(type);
  const size = format === null ? null : tensorBytes(format, shape);
  if (size === null) throw new Error('unknown type');
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(Number(size));
    await file.read(bytes, 0, bytes.length, offset);
    return bytes;
  } finally {
    await file.close();
  }
}
