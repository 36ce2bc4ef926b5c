import Type, { type Static } from 'typebox';

const FormatPair = Type.Object(
  { weights: Type.String(), activations: Type.Optional(Type.String()) },
  { additionalProperties: false },
);

export const ModelBody = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer(),
    owned_by: Type.String(),
    /** The model that an alias stands for. */
    root: Type.Optional(Type.String()),
    /** Whether it is in memory. A request for one that isn't loads it. */
    state: Type.Enum(['unloaded', 'loading', 'ready', 'draining']),
    /** Longest sequence, tokens: an extension that vLLM has too and clients read. Known while it is loaded. */
    max_model_len: Type.Optional(Type.Integer()),
    /**
     * How the model is quantized: shares of the weights' bytes by tensor format, and the format of activations
     * (`recipe`: as the classes say). What Nibble quantized has the name of its recipe and the formats of each class of
     * matrices, and of layers that differ. Known while it is loaded.
     */
    recipe: Type.Optional(
      Type.Object({
        architecture: Type.String(),
        weights: Type.Record(Type.String(), Type.Number()),
        activations: Type.String(),
        name: Type.Optional(Type.String()),
        classes: Type.Optional(Type.Record(Type.String(), FormatPair)),
        layers: Type.Optional(Type.Record(Type.String(), Type.Record(Type.String(), FormatPair))),
      }),
    ),
  },
  { additionalProperties: false },
);
export type ModelBody = Static<typeof ModelBody>;

export const ModelListBody = Type.Object(
  { object: Type.Literal('list'), data: Type.Array(ModelBody) },
  { additionalProperties: false },
);
export type ModelListBody = Static<typeof ModelListBody>;
