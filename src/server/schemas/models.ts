import Type, { type Static } from 'typebox';

export const ModelBody = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer(),
    owned_by: Type.String(),
    /** Longest sequence, tokens: an extension that vLLM has too and clients read. */
    max_model_len: Type.Integer(),
    /** How the model is quantized: shares of the weights' bytes by tensor format, and the format of activations. */
    recipe: Type.Object({
      architecture: Type.String(),
      weights: Type.Record(Type.String(), Type.Number()),
      activations: Type.String(),
    }),
  },
  { additionalProperties: false },
);
export type ModelBody = Static<typeof ModelBody>;

export const ModelListBody = Type.Object(
  { object: Type.Literal('list'), data: Type.Array(ModelBody) },
  { additionalProperties: false },
);
export type ModelListBody = Static<typeof ModelListBody>;
