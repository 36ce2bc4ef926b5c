/**
 * Recipes: how each class of matrices of a model is stored and computed, and how it was made. One schema for files that
 * users write and for the key `nibble.recipe` of model files. docs/quantization.md describes the fields; a test
 * compares.
 */
import Type, { type Static } from 'typebox';

/** A weight format, the GGUF type that stores it, and how many inputs share a scale (null: none, or the whole row). */
export type WeightFormatInfo = {
  readonly name: string;
  readonly tensorType: number;
  readonly bits: number;
  readonly group: number | null;
};

const weight = <Name extends string>(name: Name, tensorType: number, bits: number, group: number | null) => ({
  name,
  tensorType,
  bits,
  group,
});

/**
 * `w4g32a`: 4 bits, groups of 32 inputs, affine (a minimum beside the scale). `row`: one scale for a row. `c`: codes
 * choose among levels of the group. Other formats of 1 to 3 bits, `w4g64p` and the ternary `t2g64` are bit planes,
 * computed by tables (docs/methods/lut-tensor-core.md).
 */
export const weightFormatInfos = [
  weight('f32', 0, 32, null),
  weight('f16', 1, 16, null),
  weight('bf16', 30, 16, null),
  weight('w4g32', 2, 4, 32),
  weight('w4g32a', 3, 4, 32),
  weight('w5g32', 6, 5, 32),
  weight('w5g32a', 7, 5, 32),
  weight('w8g32', 8, 8, 32),
  weight('w4g64', 20001, 4, 64),
  weight('w4g64a', 20002, 4, 64),
  weight('w4g128', 20003, 4, 128),
  weight('w4g128a', 20004, 4, 128),
  weight('w8g64', 20005, 8, 64),
  weight('w8g128', 20006, 8, 128),
  weight('w8row', 20010, 8, null),
  weight('w4row', 20011, 4, null),
  weight('w2g64c', 20030, 2, 64),
  weight('w2g128c', 20031, 2, 128),
  weight('w1g64', 20020, 1, 64),
  weight('w1g128', 20021, 1, 128),
  weight('w2g64', 20022, 2, 64),
  weight('w2g64a', 20023, 2, 64),
  weight('w2g128', 20024, 2, 128),
  weight('w3g64', 20025, 3, 64),
  weight('w3g128', 20026, 3, 128),
  weight('w4g64p', 20027, 4, 64),
  weight('t2g64', 20028, 2, 64),
] as const;

export type WeightFormatName = (typeof weightFormatInfos)[number]['name'];
const weightFormatNames: readonly WeightFormatName[] = weightFormatInfos.map(({ name }) => name);

/** How a linear layer reads its input: f32 as it is; the others quantized (docs/quantization.md). */
const activationKinds = ['f32', 'a8', 'a4', 'agile', 'tender8', 'tender4'] as const;
export type ActivationKindName = (typeof activationKinds)[number];

/** Matrices of a layer that share an input. */
export const layerClasses = ['qkv', 'output', 'gateUp', 'down'] as const;
export type LayerClass = (typeof layerClasses)[number];
export type MatrixClass = LayerClass | 'head' | 'embedding';

const closed = { additionalProperties: false } as const;
const integer = (minimum: number, maximum: number, description: string) =>
  Type.Integer({ minimum, maximum, description });

const weights = Type.Enum([...weightFormatNames], { description: 'How the matrices are stored.' });
const activations = Type.Enum([...activationKinds], { description: 'How their input is read.' });
const linear = Type.Object({ weights, activations }, closed);
const layerLinears = Object.fromEntries(layerClasses.map((name) => [name, linear])) as Record<
  LayerClass,
  typeof linear
>;

const place = Type.Number({ minimum: 0, maximum: 1 });

export const recipeSchema = Type.Object(
  {
    version: Type.Literal(1, { description: 'Version of this description.' }),
    name: Type.String({ pattern: '^[\\w.+-]{1,64}$', description: 'What it is called; letters, digits and _ . + -.' }),
    classes: Type.Object(
      { ...layerLinears, head: linear, embedding: Type.Object({ weights }, closed) },
      { ...closed, description: 'Formats of each class. A head that is the embedding is stored as the embedding.' },
    ),
    layers: Type.Optional(
      Type.Record(Type.String({ pattern: '^(0|[1-9]\\d{0,3})$' }), Type.Partial(Type.Object(layerLinears), closed), {
        ...closed,
        description: 'Classes of single layers that differ, by the number of the layer (from 0).',
      }),
    ),
    spans: Type.Optional(
      Type.Array(
        Type.Object({ from: place, to: place, ...Type.Partial(Type.Object(layerLinears)).properties }, closed),
        {
          maxItems: 64,
          description:
            'Classes of layers that differ, by place: layer i of n is within `from` (0: the first) to `to` (1: behind ' +
            'the last) if (i + ½)/n is. Later spans go before earlier ones, `layers` before all.',
        },
      ),
    ),
    rounding: Type.Enum(['rtn', 'gptq'], {
      description:
        '`rtn`: each weight to the nearest value; `gptq`: errors are made up for by the weights that follow.',
    }),
    actOrder: Type.Optional(Type.Boolean({ description: 'GPTQ starts with the inputs of the largest moments.' })),
    damping: Type.Optional(
      Type.Number({
        minimum: 1e-6,
        maximum: 1,
        description: "GPTQ: share of the Hessian's mean added to its diagonal.",
      }),
    ),
    sweeps: Type.Optional(integer(0, 100, 'GPTQ: passes that then improve codes and scales together.')),
    clip: Type.Enum(['none', 'mse'], {
      description: '`mse`: the range of a group that gives the least squared error.',
    }),
    levels: Type.Optional(
      Type.Enum(['even', 'learned'], {
        description: 'Codebook formats: levels at equal distances, or fitted each for itself. Default: `even`.',
      }),
    ),
    rotation: Type.Optional(
      Type.Enum(['hadamard', 'inputs'], {
        description:
          'Channels are mixed by Hadamard matrices, so that none sticks out; the model stays the same. ' +
          '`hadamard`: in the residual stream; `inputs`: behind the norms, whose gains then balance the channels.',
      }),
    ),
    reconstruction: Type.Optional(
      Type.Object(
        {
          steps: integer(0, 100_000, 'Steps of gradient descent for each block; 0: none.'),
          tokens: integer(32, 1_048_576, 'Tokens whose gradients make a step.'),
          rate: Type.Optional(
            Type.Number({
              minimum: 1e-6,
              maximum: 1,
              description: 'How far a step moves a weight at the start, in distances of levels. Default: 0.015.',
            }),
          ),
        },
        {
          ...closed,
          description: 'Codebook formats: each block learns levels, roundings and gains from what the float one gives.',
        },
      ),
    ),
    scaling: Type.Enum(['none', 'awq', 'trip', 'smooth'], {
      description: 'Factors per input channel, moved from the activations into the weights.',
    }),
    calibration: Type.Object(
      {
        source: Type.Enum(['text', 'self'], { description: 'A text, or one that the model writes itself.' }),
        tokens: integer(64, 16_777_216, 'Tokens in all.'),
        window: integer(16, 131_072, 'Tokens of one sequence.'),
        seed: integer(0, Number.MAX_SAFE_INTEGER, 'Seed of what is drawn.'),
      },
      { ...closed, description: 'What the model is measured on, where the method needs that.' },
    ),
    kv: Type.Optional(
      Type.Enum(['f16', 'kv8', 'k8v4', 'kv4'], {
        description: 'How keys and values are cached, unless `--kv` says it.',
      }),
    ),
    agile: Type.Optional(
      Type.Object(
        {
          share: Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'Share of the rows that get 4 bits.' }),
          thresholds: Type.Optional(
            Type.Array(Type.Number({ minimum: 0 }), {
              maxItems: 10_000,
              description: 'Of each layer: the importance above which a token gets 4 bits. `quantize` measures them.',
            }),
          ),
        },
        { ...closed, description: 'For activations `agile`.' },
      ),
    ),
    tender: Type.Optional(
      Type.Object(
        {
          groups: integer(1, 16, 'Groups of channels.'),
          bits: Type.Enum([4, 8], { description: 'Bits of an activation.' }),
          chunkTokens: Type.Literal(256, { description: 'Positions that share what calibration saw.' }),
          steps: Type.Optional(
            Type.Enum(['chunk', 'token'], {
              description:
                'Steps of activations: `chunk` as calibration saw them (default), `token` by each row itself.',
            }),
          ),
        },
        { ...closed, description: 'For activations `tender8` and `tender4`.' },
      ),
    ),
    pruning: Type.Optional(
      Type.Object(
        {
          keep: Type.Number({ minimum: 0.0625, maximum: 1, description: 'Share of the prompt tokens that stay.' }),
          afterLayer: integer(0, 9999, 'The first layer after which tokens are left out.'),
          stages: integer(1, 4, 'In how many steps.'),
        },
        { ...closed, description: 'Tokens of long prompts that are left out.' },
      ),
    ),
  },
  closed,
);

export type Recipe = Static<typeof recipeSchema>;
export type LinearRecipe = Static<typeof linear>;
export type LayerRecipe = Readonly<Record<LayerClass, LinearRecipe>>;
