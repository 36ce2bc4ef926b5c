/** `nibble bench make-model`: a model of random weights in a well-known shape, for measurements alone. */
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { NibbleError } from '../../errors.js';
import { type GeneratedModel, writeGeneratedModel } from '../../model/generated/model.js';
import { type TensorTypeName, tensorTypeNames } from '../../model/generated/tensor-data.js';
import { findTensorFormatByName } from '../../model/gguf-types.js';
import type { ArchitectureSpec } from '../../native/contract.js';
import { integerIn } from './arguments.js';

type Sizes = Pick<
  ArchitectureSpec,
  'layers' | 'hidden' | 'heads' | 'kvHeads' | 'headDim' | 'ffn' | 'vocab' | 'contextLength'
> & { readonly ropeBase: number };

const shapeOf = ({ ropeBase, ...sizes }: Sizes): ArchitectureSpec => ({
  ...sizes,
  rmsEps: Math.fround(1e-5),
  qkvBias: false,
  qkNorm: false,
  rope: { layout: 'interleaved', dimensions: sizes.headDim, base: ropeBase, scaling: { kind: 'none' } },
});

/** The default model's shape, that of Llama 3.2 1B, and a small one with the head size of most larger models. */
export const shapes: Readonly<Record<string, ArchitectureSpec>> = {
  '135m': shapeOf({
    ...{ layers: 30, hidden: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536 },
    ...{ vocab: 49_152, contextLength: 8192, ropeBase: 100_000 },
  }),
  '1b': shapeOf({
    ...{ layers: 16, hidden: 2048, heads: 32, kvHeads: 8, headDim: 64, ffn: 8192 },
    ...{ vocab: 128_256, contextLength: 16_384, ropeBase: 500_000 },
  }),
  h128: shapeOf({
    ...{ layers: 12, hidden: 1024, heads: 16, kvHeads: 8, headDim: 128, ffn: 3072 },
    ...{ vocab: 49_152, contextLength: 16_384, ropeBase: 1_000_000 },
  }),
};

/** One of `known`, in any case. */
const nameOf =
  <T extends string>(known: readonly T[]) =>
  (text: string): T => {
    const found = known.find((name) => name.toLowerCase() === text.toLowerCase());
    if (found === undefined) throw new InvalidArgumentError(`must be one of: ${known.join(', ').toLowerCase()}.`);
    return found;
  };

/** All matrices in `type`; like the default model's, embedding and head keep 8 bits where the others have fewer. */
export function modelTypes(type: TensorTypeName, ends?: TensorTypeName): NonNullable<GeneratedModel['types']> {
  const embedding = ['F32', 'F16', 'BF16'].includes(type) ? type : 'Q8_0';
  return { attention: type, ffn: type, embedding: ends ?? embedding };
}

type MakeFlags = {
  readonly shape: string;
  readonly type: TensorTypeName;
  readonly head?: TensorTypeName;
  readonly seed: number;
  readonly out: string;
};

async function makeModel({ shape, type, head, seed, out }: MakeFlags): Promise<void> {
  const spec = shapes[shape];
  const refuse = (message: string) => new NibbleError('invalid_request', { message });
  if (spec === undefined) throw refuse(`--shape: no shape ${shape}.`);
  for (const [flag, format] of Object.entries({ type, head: head ?? type })) {
    const block = findTensorFormatByName(format)?.blockElements ?? 1;
    if (spec.hidden % block !== 0) {
      throw refuse(`--${flag} ${format}: rows of ${spec.hidden} weights aren't whole blocks of ${block}.`);
    }
  }
  await writeGeneratedModel(resolve(out), { architecture: 'llama', spec, seed, types: modelTypes(type, head) });
}

export function registerMakeModel(bench: Command): void {
  bench
    .command('make-model')
    .description('Write a model of random weights in a well-known shape: as fast as a real one, but it talks nonsense.')
    .requiredOption('--out <file>', 'the GGUF file to write')
    .option('--shape <name>', Object.keys(shapes).join(', '), nameOf(Object.keys(shapes)), '135m')
    .option('--type <format>', 'format of the matrices, such as q4_1, q4_0, q8_0, f16', nameOf(tensorTypeNames), 'Q4_1')
    .option(
      '--head <format>',
      'format of embedding and head; default: that of --type, at least 8 bits',
      nameOf(tensorTypeNames),
    )
    .option('--seed <number>', 'seed of the weights', integerIn(0, 0xffff_ffff), 1)
    .action(makeModel);
}
