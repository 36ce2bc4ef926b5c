import Type, { type Static } from 'typebox';
import { field, flag, text } from './fields.js';

const Schema = Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.String(), Type.Boolean()]);
export const schema = () => field(Schema, 'a JSON schema: an object, a boolean, or its text');
const choice = () => field(Type.Array(Type.String(), { minItems: 1 }), 'an array of strings; not empty');

/** What a text can be asked to be, in OpenAI's words. */
export const formatType = Type.Enum(['text', 'json_object', 'json_schema'], {
  expected: '"text", "json_object" or "json_schema"',
});

/** What says how the text must be: OpenAI's `response_format`, and the names that vLLM has used, old and new. */
export const constraintFields = {
  response_format: field(
    Type.Object({
      type: formatType,
      json_schema: field(
        Type.Object({ name: text(), description: text(), schema: schema(), strict: flag() }),
        'an object with a schema',
      ),
    }),
    'an object with a type',
  ),
  guided_json: schema(),
  guided_regex: text(),
  guided_choice: choice(),
  guided_grammar: text(),
  structured_outputs: field(
    Type.Object({ json: schema(), json_object: flag(), regex: text(), choice: choice(), grammar: text() }),
    'an object with json, json_object, regex, choice or grammar',
  ),
};

const ConstraintFields = Type.Object(constraintFields);
export type ConstraintFields = Static<typeof ConstraintFields>;
