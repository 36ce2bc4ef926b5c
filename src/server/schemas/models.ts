import Type, { type Static } from 'typebox';

export const ModelBody = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer(),
    owned_by: Type.String(),
    /** Longest sequence, tokens: an extension that vLLM has too and clients read. */
    max_model_len: Type.Integer(),
  },
  { additionalProperties: false },
);
export type ModelBody = Static<typeof ModelBody>;

export const ModelListBody = Type.Object(
  { object: Type.Literal('list'), data: Type.Array(ModelBody) },
  { additionalProperties: false },
);
export type ModelListBody = Static<typeof ModelListBody>;
