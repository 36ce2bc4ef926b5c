import Type from 'typebox';

const closed = { additionalProperties: false } as const;

export const HealthBody = Type.Object({ status: Type.Literal('ok') }, closed);
export const ReadyBody = Type.Object({ status: Type.Literal('ready') }, closed);
export const VersionBody = Type.Object({ version: Type.String() }, closed);

/** What llama-server answers while it loads: probes written for it look at this body, whose code is a number. */
export const LoadingBody = Type.Object(
  {
    error: Type.Object(
      { code: Type.Literal(503), message: Type.String(), type: Type.Literal('unavailable_error') },
      closed,
    ),
  },
  closed,
);
