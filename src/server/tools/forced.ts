/**
 * Answers that must be calls (`tool_choice` "required", or a named function), and those whose calls, if there are any,
 * must be valid (`strict`).
 */
import type { Constraint } from '../../grammar/types.js';
import type { FunctionTool } from '../schemas/chat-request.js';
import type { ToolFormat } from './format.js';
import type { ToolPiece, ToolReader } from './parser.js';

export type ForcedCalls = {
  /** What the model would begin its call with. It belongs to the prompt: markers can be tokens that no text has. */
  readonly opening: string;
  readonly constraint: Constraint;
};

/** Arguments are one object. Without a schema there are none, as in OpenAI's contract. */
function argumentsSchema({ name, parameters }: FunctionTool['function']): object {
  if (parameters == null) return { type: 'object', properties: {}, additionalProperties: false };
  // With an id of its own its references stay within.
  return { $id: `tool:${name}`, ...parameters, ...(hasShape(parameters) ? {} : { type: 'object' }) };
}

const hasShape = (schema: object): boolean =>
  ['type', '$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const'].some((key) => Object.hasOwn(schema, key));

const callSchema = (name: string, given: string, value: object) => ({
  type: 'object',
  properties: { name: { const: name }, [given]: value },
  required: ['name', given],
});

/**
 * Free text whose calls are valid under the `parameters` of functions that say `strict`, and objects of any kind for
 * the others. Null if none says so, or if free text can't be told from a call at once, as in formats without a mark.
 */
export function strictCalls(format: ToolFormat, tools: readonly FunctionTool[]): Constraint | null {
  if (format !== 'hermes' || !tools.some((tool) => tool.function.strict === true)) return null;
  const anyOf = tools.map(({ function: called }) =>
    callSchema(called.name, 'arguments', called.strict === true ? argumentsSchema(called) : { type: 'object' }),
  );
  const frame = { mark: '<tool_call>\n', end: '\n</tool_call>', between: null };
  return { kind: 'json_schema', schema: JSON.stringify({ anyOf }), frame };
}

/** Calls of these functions as `format` writes them: one, or more if `isParallel` and the format has a way to. */
export function forcedCalls(format: ToolFormat, tools: readonly FunctionTool[], isParallel: boolean): ForcedCalls {
  const given = format === 'llama3' ? 'parameters' : 'arguments';
  const anyOf = tools.map(({ function: called }) => callSchema(called.name, given, argumentsSchema(called)));
  const one = { anyOf };
  const many = { type: 'array', items: one, minItems: 1, ...(isParallel ? {} : { maxItems: 1 }) };
  const schema = JSON.stringify(format === 'mistral' ? many : one);
  switch (format) {
    case 'hermes': {
      const end = '\n</tool_call>';
      const frame = { end, between: isParallel ? '\n<tool_call>\n' : null };
      return { opening: '<tool_call>\n', constraint: { kind: 'json_schema', schema, frame } };
    }
    case 'mistral':
      return { opening: '[TOOL_CALLS]', constraint: { kind: 'json_schema', schema } };
    case 'llama3':
      return { opening: '', constraint: { kind: 'json_schema', schema } };
  }
}

const HEAD = /\{"name": "([\w.-]+)", "(?:arguments|parameters)": $/;

/**
 * Reads what such a constraint made. Its form is certain, so that arguments are given out as they come; what is missing
 * when `max_tokens` cuts the text is missing there too.
 */
export class ForcedCallReader implements ToolReader {
  /** Since the last call, while no new one has begun. */
  #head = '';
  /** Brackets that are open in the arguments. */
  #depth = 0;
  #inString = false;
  #isEscaped = false;

  push(text: string): readonly ToolPiece[] {
    const pieces: ToolPiece[] = [];
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      if (this.#depth === 0) {
        const name = this.#begun(text[at] as string);
        if (name === null) continue;
        pieces.push({ kind: 'call', call: { name, arguments: '' } });
        start = at;
      } else if (!this.#closes(text[at] as string)) continue;
      else {
        pieces.push({ kind: 'arguments', text: text.slice(start, at + 1) });
        start = at + 1;
      }
    }
    if (this.#depth > 0 && start < text.length) pieces.push({ kind: 'arguments', text: text.slice(start) });
    return pieces;
  }

  finish(): readonly ToolPiece[] {
    return [];
  }

  /** The name of the function whose arguments this character begins, if it does. */
  #begun(char: string): string | null {
    const [, name] = char === '{' ? (HEAD.exec(this.#head) ?? []) : [];
    this.#head = name === undefined ? this.#head + char : '';
    if (name === undefined) return null;
    this.#depth = 1;
    return name;
  }

  /** Whether this character of the arguments is their last. */
  #closes(char: string): boolean {
    if (this.#inString) {
      if (this.#isEscaped) this.#isEscaped = false;
      else if (char === '\\') this.#isEscaped = true;
      else if (char === '"') this.#inString = false;
      return false;
    }
    if (char === '"') this.#inString = true;
    else if (char === '{' || char === '[') this.#depth++;
    else if (char === '}' || char === ']') this.#depth--;
    return this.#depth === 0;
  }
}
