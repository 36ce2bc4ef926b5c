import { NibbleError } from '../../errors.js';
import type { Constraint } from '../../grammar/types.js';
import type { ConstraintFields } from '../schemas/constraint-fields.js';
import type { ServedModel } from '../served-model.js';
import { invalid } from './settings.js';

/** A constraint, and the field that asks for it. */
export type AskedConstraint = { readonly constraint: Constraint; readonly param: string };

type SchemaField = NonNullable<ConstraintFields['guided_json']>;

const ofSchema = (schema: SchemaField): Constraint => ({
  kind: 'json_schema',
  schema: typeof schema === 'string' ? schema : JSON.stringify(schema),
});

function ofResponseFormat(format: NonNullable<ConstraintFields['response_format']>): AskedConstraint | null {
  if (format.type === 'text') return null;
  if (format.type === 'json_object') return { constraint: { kind: 'json_object' }, param: 'response_format' };
  const schema = format.json_schema?.schema;
  if (schema != null) return { constraint: ofSchema(schema), param: 'response_format.json_schema.schema' };
  throw invalid('response_format.json_schema', "'response_format' of type 'json_schema' needs 'json_schema.schema'.");
}

/**
 * What the text must be; null if it is free. A schema is enforced whether it says `strict` or not. Throws
 * `invalid_request` if several fields ask for it.
 */
export function constraintFrom(body: ConstraintFields): AskedConstraint | null {
  const asked: AskedConstraint[] = [];
  const ask = (param: string, constraint: Constraint | null) => {
    if (constraint !== null) asked.push({ constraint, param });
  };
  const of = <T>(value: T | null | undefined, make: (value: T) => Constraint): Constraint | null =>
    value == null ? null : make(value);
  const regex = (pattern: string): Constraint => ({ kind: 'regex', pattern });
  const choice = (choices: readonly string[]): Constraint => ({ kind: 'choice', choices });
  const grammar = (text: string): Constraint => ({ kind: 'grammar', text });
  const format = body.response_format == null ? null : ofResponseFormat(body.response_format);
  if (format !== null) asked.push(format);
  ask('guided_json', of(body.guided_json, ofSchema));
  ask('guided_regex', of(body.guided_regex, regex));
  ask('guided_choice', of(body.guided_choice, choice));
  ask('guided_grammar', of(body.guided_grammar, grammar));
  const outputs = body.structured_outputs ?? {};
  ask('structured_outputs.json', of(outputs.json, ofSchema));
  ask('structured_outputs.json_object', outputs.json_object === true ? { kind: 'json_object' } : null);
  ask('structured_outputs.regex', of(outputs.regex, regex));
  ask('structured_outputs.choice', of(outputs.choice, choice));
  ask('structured_outputs.grammar', of(outputs.grammar, grammar));
  const [first, second] = asked;
  if (first === undefined) return null;
  if (second === undefined) return first;
  throw invalid(second.param, `'${first.param}' and '${second.param}' both say what the text must be; give one.`);
}

/**
 * Compiles what is asked for, so that `engine.submit` can use it. Throws `constraint_invalid`, `constraint_too_complex`
 * with the field at fault, `invalid_request`, `queue_full`.
 */
export async function compileConstraint(
  asked: AskedConstraint | null,
  model: ServedModel,
): Promise<{ readonly constraint?: Constraint }> {
  if (asked === null) return {};
  const { constraint, param } = asked;
  try {
    await model.engine.checkConstraint(constraint);
  } catch (error) {
    if (!(error instanceof NibbleError)) throw error;
    const { code, message } = error;
    if (code !== 'constraint_invalid' && code !== 'constraint_too_complex') throw error;
    throw new NibbleError(code, { message }, { param, cause: error });
  }
  return { constraint };
}
