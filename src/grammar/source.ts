import { CONSTRAINT_CHARS_MAX } from '../limits.js';
import { objectGrammar, schemaGrammar } from './schema/json-schema.js';
import { patternGrammar } from './schema/regex.js';
import { literal, oneOf } from './schema/rules.js';
import { type Constraint, ConstraintError } from './types.js';

function sizeOf(constraint: Constraint): number {
  switch (constraint.kind) {
    case 'json_object':
      return 0;
    case 'json_schema':
      return constraint.schema.length;
    case 'regex':
      return constraint.pattern.length;
    case 'choice':
      return constraint.choices.reduce((sum, choice) => sum + choice.length + 1, 0);
    case 'grammar':
      return constraint.text.length;
    default:
      return constraint satisfies never;
  }
}

/** Throws ConstraintError if it is longer than `CONSTRAINT_CHARS_MAX` characters. Cheap. */
export function checkSize(constraint: Constraint): void {
  const size = sizeOf(constraint);
  if (size <= CONSTRAINT_CHARS_MAX) return;
  throw new ConstraintError(`It has ${size} characters; at most ${CONSTRAINT_CHARS_MAX} are allowed.`, true);
}

/** A constraint as the rules that the grammar engine reads. Throws ConstraintError. */
export function grammarOf(constraint: Constraint): string {
  checkSize(constraint);
  switch (constraint.kind) {
    case 'json_object':
      return objectGrammar();
    case 'json_schema':
      return schemaGrammar(constraint.schema, constraint.frame ?? null);
    case 'regex':
      return patternGrammar(constraint.pattern);
    case 'choice':
      if (constraint.choices.length === 0) throw new ConstraintError('There is nothing to choose from.');
      return `root ::= ${oneOf(constraint.choices.map(literal))}\n`;
    case 'grammar':
      return constraint.text;
    default:
      return constraint satisfies never;
  }
}
