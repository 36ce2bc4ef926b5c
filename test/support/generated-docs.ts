import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describeSetting, settingKeys } from '../../src/config.js';
import { errorTable } from '../../src/errors.js';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const table = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

/** Parameters that print their own name, for showing a message as a pattern. */
const placeholders = new Proxy(
  {},
  {
    get: (_target, name) => {
      const text = `{${String(name)}}`;
      return { toString: () => text, join: () => text };
    },
  },
);

/** docs/errors.md, from the table in src/errors.ts. */
export function errorsDocument(): string {
  const rows = Object.entries(errorTable).map(([code, row]) => {
    const text = row.text as (parameters: object) => unknown;
    return [`\`${code}\``, String(row.status), `\`${row.type}\``, String(text(placeholders))];
  });
  return `# Errors

Every error has a code that doesn't change. Over HTTP it is an OpenAI error object, in which all four keys are always
there; \`param\` names the request field at fault, or is null:

\`\`\`json
{"error": {"message": "…", "type": "invalid_request_error", "param": "temperature", "code": "invalid_request"}}
\`\`\`

On the command line it is one line on stderr, \`nibble: code: message\`, and the exit code is 1 (2 for wrong usage or
settings). 429 and 503 carry \`Retry-After\`. In a stream whose head is already sent, the error object is the payload of
a \`data:\` line, followed by \`data: [DONE]\`.

This page is made from \`src/errors.ts\`; a test compares (\`NIBBLE_UPDATE_DOCS=1\` rewrites it).

${table([['Code', 'Status', 'Type', 'Message'], ['---', '---', '---', '---'], ...rows])}
`;
}

/** docs/configuration.md, from the schema in src/config.ts. */
export function configurationDocument(): string {
  const rows = settingKeys.map((key) => {
    const { flag, alias, env, expected, fallback, description } = describeSetting(key);
    const flags = [flag, ...(alias === null ? [] : [alias])].map((name) => `\`${name}\``).join(', ');
    return [`\`${key}\``, flags, `\`${env}\``, expected, fallback, description];
  });
  const head = ['Setting', 'Flag', 'Variable', 'Value', 'Default', 'Meaning'];
  return `# Configuration

Every setting can be given as a flag, as an environment variable, or in a JSON file. A flag wins over a variable, a
variable over the file, the file over the default. Every source is checked, even where another wins: a value that isn't
allowed stops the program with \`config_invalid\`, the setting and where the value was found, and exit code 2.

- The file is named by \`--config FILE\` or \`NIBBLE_CONFIG\`, and holds one object, such as
  \`{"port": 8000, "threads": 2}\`. A key that isn't a setting is an error.
- An empty variable counts as not set. Switches are \`true\`, \`false\`, \`1\` or \`0\` as variables; as flags they take no
  value.
- Where the default says \`auto\`, the value \`auto\` asks for it explicitly.

${table([head, head.map(() => '---'), ...rows])}

\`nibble serve\` knows all of them; other commands know those that concern them (see \`--help\`). \`NIBBLE_ISA\` (scalar,
avx2, avxvnni, avx512, neon) caps the instruction set that the native engine may use.

This page is made from \`src/config.ts\`; a test compares (\`NIBBLE_UPDATE_DOCS=1\` rewrites it).
`;
}

/** Compares a page under docs/ with what it should be; with NIBBLE_UPDATE_DOCS=1 writes it first. */
export function checkDocument(name: string, expected: string): void {
  const path = fileURLToPath(new URL(`../../docs/${name}`, import.meta.url));
  if (process.env.NIBBLE_UPDATE_DOCS === '1') writeFileSync(path, expected);
  assert.equal(readFileSync(path, 'utf8'), expected, `docs/${name} is out of date`);
}
