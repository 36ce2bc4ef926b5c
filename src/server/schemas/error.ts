import Type, { type Static } from 'typebox';

/** OpenAI's error object: all four keys are always there. */
export const ErrorBody = Type.Object({
  error: Type.Object(
    {
      message: Type.String(),
      type: Type.String(),
      param: Type.Union([Type.String(), Type.Null()]),
      code: Type.Union([Type.String(), Type.Null()]),
    },
    { additionalProperties: false },
  ),
});
export type ErrorBody = Static<typeof ErrorBody>;
