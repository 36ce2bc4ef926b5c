/** How models write tool calls, and how those are told that were never taught. */

/**
 * - `hermes`: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, anywhere (Hermes, Qwen)
 * - `mistral`: `[TOOL_CALLS][{"name": …, "arguments": {…}}]` or `[TOOL_CALLS]name{…}`, to the end
 * - `llama3`: the whole answer is `{"name": …, "parameters": {…}}`, perhaps after `<|python_tag|>`
 */
export type ToolFormat = 'hermes' | 'mistral' | 'llama3';

export type ToolSupport = {
  readonly format: ToolFormat;
  /** Whether the template itself shows the tools to the model. */
  readonly isNative: boolean;
};

/** What a model's template says about its way of calling tools. */
export function toolSupportOf(template: string): ToolSupport {
  if (!/\btools\b/.test(template)) return { format: 'hermes', isNative: false };
  if (template.includes('[TOOL_CALLS]')) return { format: 'mistral', isNative: true };
  if (template.includes('<tool_call>')) return { format: 'hermes', isNative: true };
  if (template.includes('<|python_tag|>') || template.includes('"parameters"')) {
    return { format: 'llama3', isNative: true };
  }
  return { format: 'hermes', isNative: true };
}

/** The system text of Hermes' function calling format, for templates that don't know tools. */
export function toolInstructions(tools: readonly object[]): string {
  return [
    'You may call one or more functions to help with the query. Their signatures, within <tools></tools>:',
    '<tools>',
    ...tools.map((tool) => JSON.stringify(tool)),
    '</tools>',
    'For each function call return a JSON object with its name and arguments within <tool_call></tool_call>:',
    '<tool_call>',
    '{"name": <function name>, "arguments": <object of arguments>}',
    '</tool_call>',
  ].join('\n');
}
