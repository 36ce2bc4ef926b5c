import Type, { type Static } from 'typebox';

/** Names of models and aliases: harmless in URLs, logs and metrics. */
export const namePattern = '^[A-Za-z0-9][\\w.:/-]{0,127}$';

const name = Type.String({
  pattern: namePattern,
  expected: 'a name of at most 128 letters, digits and _ . : / -',
});
const share = (description: string) =>
  Type.Number({ minimum: 0, maximum: 1, description, expected: 'a number from 0 to 1' });

export const LoadRequest = Type.Object(
  {
    name,
    /** For a name that isn't known yet: a path or known model name, as for `--model`. */
    source: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, expected: 'a path or the name of a model' })),
  },
  { additionalProperties: false },
);
export type LoadRequest = Static<typeof LoadRequest>;

export const UnloadRequest = Type.Object(
  {
    name,
    /** Whether it is forgotten too; otherwise the next request for it loads it again. */
    remove: Type.Optional(Type.Boolean({ expected: 'true or false' })),
  },
  { additionalProperties: false },
);
export type UnloadRequest = Static<typeof UnloadRequest>;

export const AliasRequest = Type.Object({ alias: name, model: name }, { additionalProperties: false });
export type AliasRequest = Static<typeof AliasRequest>;

export const CanaryRequest = Type.Object(
  {
    alias: name,
    candidate: name,
    share: share('Share of the requests that the candidate answers.'),
    shadow: Type.Optional(share('Share of the other requests whose answers both models are compared on.')),
  },
  { additionalProperties: false },
);
export type CanaryRequest = Static<typeof CanaryRequest>;

export const RolloutRequest = Type.Object({ alias: name }, { additionalProperties: false });
export type RolloutRequest = Static<typeof RolloutRequest>;
