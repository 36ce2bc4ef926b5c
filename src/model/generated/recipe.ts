/** The keys that a generated model needs if it holds formats of Nibble's own: a recipe that says what is there. */
import { findTensorFormatByName, type GgufValue } from '../gguf-types.js';
import { nibbleMetadata } from '../nibble-metadata.js';
import { type WeightFormatName, weightFormatInfos } from '../recipe-types.js';
import type { TensorTypeName } from './tensor-data.js';

type MatrixTypes = Readonly<Record<'q' | 'o' | 'gate' | 'down' | 'output' | 'embedding', TensorTypeName>>;

function weightsOf(type: TensorTypeName): WeightFormatName {
  const id = findTensorFormatByName(type)?.id;
  const info = weightFormatInfos.find(({ tensorType }) => tensorType === id);
  if (info === undefined) throw new Error(`no recipe has weights of the type ${type}`);
  return info.name;
}

/** All inputs of quantized matrices are `a8`, those of float ones `f32`. */
export function generatedRecipe(types: MatrixTypes, seed: number): ReadonlyMap<string, GgufValue> {
  const linear = (type: TensorTypeName) =>
    ({ weights: weightsOf(type), activations: ['F32', 'F16', 'BF16'].includes(type) ? 'f32' : 'a8' }) as const;
  const classes = {
    ...{ qkv: linear(types.q), output: linear(types.o), gateUp: linear(types.gate), down: linear(types.down) },
    ...{ head: linear(types.output), embedding: { weights: weightsOf(types.embedding) } },
  };
  const calibration = { source: 'self', tokens: 64, window: 16, seed: 0 } as const;
  const method = { rounding: 'rtn', clip: 'none', scaling: 'none', calibration } as const;
  return nibbleMetadata(
    { version: 1, name: 'generated', classes, ...method },
    { sourceSha256: '0'.repeat(64), calibrationSha256: null, toolVersion: 'generated', seed: BigInt(seed) },
  );
}
