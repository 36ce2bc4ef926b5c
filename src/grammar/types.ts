/**
 * Values in a text: `end` follows each; `between` and another value may follow that, if it isn't null. With `mark` the
 * text is free but for values, none to many, each behind a mark; its first character must not come again in it.
 */
export type Frame = { readonly end: string; readonly between: string | null; readonly mark?: string };

/** What a generated text must be. Sent to the grammar's thread as it is, and the key of its cache. */
export type Constraint =
  /** Any JSON object, on one line. */
  | { readonly kind: 'json_object' }
  /** The text of a JSON Schema. */
  | { readonly kind: 'json_schema'; readonly schema: string; readonly frame?: Frame }
  /** The whole text matches; ECMAScript's syntax without look-around, references and word boundaries. */
  | { readonly kind: 'regex'; readonly pattern: string }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  /** EBNF as of GBNF files: rules `name ::= …`, starting with `root`. */
  | { readonly kind: 'grammar'; readonly text: string };

/** Why a constraint can't be used: the message names the place and says what to do. */
export class ConstraintError extends Error {
  override readonly name = 'ConstraintError';
  readonly isTooComplex: boolean;

  constructor(message: string, isTooComplex = false) {
    super(message);
    this.isTooComplex = isTooComplex;
  }
}
