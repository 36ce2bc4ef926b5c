import type { ToolFormat } from './format.js';

/** A call as the model wrote it; `arguments` is JSON text, as in OpenAI's contract. */
export type ToolCall = { readonly name: string; readonly arguments: string };

/** A parsed value as a call, if it has the form of one. Llama writes `parameters` for `arguments`. */
function asCall(value: unknown): ToolCall | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { name, arguments: given, parameters } = value as Readonly<Record<string, unknown>>;
  if (typeof name !== 'string' || name === '' || name.length > 128) return null;
  const found = given ?? parameters ?? {};
  if (typeof found === 'string') return isJson(found) ? { name, arguments: found } : null;
  return typeof found === 'object' ? { name, arguments: JSON.stringify(found) } : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isJson = (text: string): boolean => parse(text) !== undefined;

/** One call, or a list of them; null if it is anything else. */
function readJson(text: string): readonly ToolCall[] | null {
  const value = parse(text);
  const calls = (Array.isArray(value) ? value : [value]).map(asCall);
  const complete = calls.filter((call) => call !== null);
  return complete.length === calls.length && calls.length > 0 ? complete : null;
}

/** `name{…}` and `name[ARGS]{…}`, as newer Mistral models write, several after another. */
function readNamed(text: string): readonly ToolCall[] | null {
  const calls: ToolCall[] = [];
  for (const part of text.split('[TOOL_CALLS]')) {
    const [, name, args] = /^\s*([\w.-]{1,128})(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(\{[\s\S]*\})\s*$/.exec(part) ?? [];
    if (name === undefined || args === undefined || !isJson(args)) return null;
    calls.push({ name, arguments: args });
  }
  return calls.length > 0 ? calls : null;
}

/** Objects one after another, with `;` or white space between, as Llama writes parallel calls. */
function readSequence(text: string): readonly ToolCall[] | null {
  const parts = text.split(/(?<=\})\s*[;\n]\s*(?=\{)/);
  const calls = parts.map((part) => readJson(part.trim()));
  return calls.some((call) => call === null) ? null : calls.flatMap((call) => call ?? []);
}

/** The calls in a text that is all call (markers taken off); null if it doesn't read as such. */
export function readCalls(text: string, format: ToolFormat): readonly ToolCall[] | null {
  const trimmed = text.trim();
  switch (format) {
    case 'hermes':
      return readJson(trimmed);
    case 'mistral':
      return readJson(trimmed) ?? readNamed(trimmed);
    case 'llama3':
      return readJson(trimmed) ?? readSequence(trimmed);
  }
}
