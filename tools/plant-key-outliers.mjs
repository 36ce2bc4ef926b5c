// Copies a model and gives its keys the few large dimensions that keys of many models have, without changing what the
// model computes: for each KV head, the rows of one rotary pair of the key projection are multiplied by a power of two,
// the rows of the queries that meet them divided by it. Scores stay what they are, whatever the position.
//   node --import tsx tools/plant-key-outliers.mjs IN.gguf OUT.gguf 16
// For matrices in Q4_0, Q4_1 or Q8_0, whose scales (and minima) are f16 at the start of each block of 32.
import { copyFile, open } from 'node:fs/promises';
import { readModelFile } from '../src/model/gguf.js';

/** GGML type → bytes of a block of 32 weights, and how many f16 numbers at its start scale with the weights. */
const blocks = new Map([
  [2, { bytes: 18, numbers: 1 }],
  [3, { bytes: 20, numbers: 2 }],
  [8, { bytes: 34, numbers: 1 }],
]);

/** An f16 times a power of two: exact but for what becomes subnormal. */
function scaleF16(bits, factor) {
  const sign = bits & 0x8000;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = (exponent === 0 ? fraction : 1024 + fraction) * 2 ** (Math.max(exponent, 1) - 25) * factor;
  if (exponent === 31 || magnitude > 65504) throw new Error('a scale leaves the range of f16');
  if (magnitude < 2 ** -14) return sign | Math.round(magnitude * 2 ** 24);
  const power = Math.floor(Math.log2(magnitude));
  return sign | ((power + 15) << 10) | ((magnitude / 2 ** power - 1) * 1024);
}

async function scaleRows(file, tensor, rows, factor) {
  const { type, shape, offset, name } = tensor;
  const block = blocks.get(type);
  if (block === undefined) throw new Error(`${name}: type ${type} isn't supported`);
  const rowBytes = ((shape[0] ?? 0) / 32) * block.bytes;
  const row = Buffer.alloc(rowBytes);
  for (const index of rows) {
    await file.read(row, 0, rowBytes, offset + index * rowBytes);
    for (let at = 0; at < rowBytes; at += block.bytes) {
      for (let i = 0; i < block.numbers; i++) {
        const place = at + 2 * i;
        row.writeUInt16LE(scaleF16(row.readUInt16LE(place), factor), place);
      }
    }
    await file.write(row, 0, rowBytes, offset + index * rowBytes);
  }
}

const [input, output, factorText] = process.argv.slice(2);
const factor = Number(factorText);
if (input === undefined || output === undefined || !(factor > 1 && Number.isInteger(Math.log2(factor)))) {
  throw new Error('usage: plant-key-outliers.mjs IN.gguf OUT.gguf FACTOR (a power of two)');
}
const { architecture, tensors } = await readModelFile(input);
const { layers, heads, kvHeads, headDim, rope } = architecture;
if (rope.layout !== 'interleaved') throw new Error('only models whose rotary pairs are neighbours');
await copyFile(input, output);
const file = await open(output, 'r+');
try {
  const find = (name) => {
    const tensor = tensors.find((one) => one.name === name);
    if (tensor === undefined) throw new Error(`no tensor ${name}`);
    return tensor;
  };
  // A slow pair: large at every position.
  const pair = [headDim - 2, headDim - 1];
  const rowsOf = (count) => Array.from({ length: count }, (_, head) => pair.map((d) => head * headDim + d)).flat();
  for (let layer = 0; layer < layers; layer++) {
    await scaleRows(file, find(`blk.${layer}.attn_k.weight`), rowsOf(kvHeads), factor);
    await scaleRows(file, find(`blk.${layer}.attn_q.weight`), rowsOf(heads), 1 / factor);
  }
} finally {
  await file.close();
}
