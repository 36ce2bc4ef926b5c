// Copies a model with matrices in F16 and gives the outputs of its norms the few large channels that inputs of many
// models have, without changing what the model computes but for rounding to F16: the gains of some channels are
// multiplied by a factor, the columns of the weights that read them divided by it.
//   node --import tsx tools/plant-channel-outliers.mjs IN.gguf OUT.gguf [channels 12] [factor 30]
import { open } from 'node:fs/promises';
import { encodeTensor } from '../src/model/generated/tensor-data.js';
import { readModelFile } from '../src/model/gguf.js';
import { readGgufHeader } from '../src/model/gguf-reader.js';
import { findTensorFormat, tensorBytes } from '../src/model/gguf-types.js';
import { GgufWriter } from '../src/model/gguf-writer.js';
import { loadAddon } from '../src/native/load.js';

const [input, output, channelsText = '12', factorText = '30'] = process.argv.slice(2);
const [count, factor] = [Number(channelsText), Number(factorText)];
if (input === undefined || output === undefined || !(count >= 1 && factor > 0)) {
  throw new Error('usage: plant-channel-outliers.mjs IN.gguf OUT.gguf [channels] [factor]');
}
const { architecture, tensors } = await readModelFile(input);
const { metadata } = await readGgufHeader(input);
// Spread over the width, the same in every layer, as they are where they come from.
const channels = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * architecture.hidden) / count));
const reads = /\.(attn_q|attn_k|attn_v|ffn_gate|ffn_up)\.weight$/;
const gains = /\.(attn_norm|ffn_norm)\.weight$/;
const inLayer = /^blk\.\d+\.(attn|ffn)_\w+\.weight$/;

function changed({ name, shape }, values) {
  const [width] = shape;
  if (gains.test(name)) for (const c of channels) values[c] *= factor;
  if (reads.test(name))
    for (let at = 0; at < values.length; at += width) for (const c of channels) values[at + c] /= factor;
  return values;
}

const source = await open(input);
const writer = await GgufWriter.create(output);
try {
  for (const [key, value] of metadata) if (key !== 'general.alignment') writer.setMetadata(key, value);
  const typeOf = ({ name, shape, type }) => (shape.length > 1 && inLayer.test(name) ? 1 : gains.test(name) ? 0 : type);
  for (const tensor of tensors) writer.declareTensor({ ...tensor, type: typeOf(tensor) });
  for (const tensor of tensors) {
    const type = typeOf(tensor);
    if (inLayer.test(tensor.name)) {
      const values = changed(tensor, loadAddon().dequantize(input, tensor));
      await writer.writeTensor(tensor.name, encodeTensor(type === 1 ? 'F16' : 'F32', values));
      continue;
    }
    const bytes = Buffer.alloc(Number(tensorBytes(findTensorFormat(type), tensor.shape)));
    await source.read(bytes, 0, bytes.length, tensor.offset);
    await writer.writeTensor(tensor.name, bytes);
  }
  await writer.finish();
} catch (error) {
  await writer.abort();
  throw error;
} finally {
  await source.close();
}
