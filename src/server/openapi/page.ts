import { createHash } from 'node:crypto';
import type { TSchema } from 'typebox';
import { statusMeanings } from './document.js';
import { namedSchemas, type Operation, operations } from './operations.js';

const style = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f3f3f3; border-radius: 3px; }
code { padding: 1px 4px; }
pre { padding: .75rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 4px 12px 4px 0; border-bottom: 1px solid #ddd; }
h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem; }
.method { color: #666; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818; }
  code, pre { background: #2a2a2a; }
  a { color: #8ab4f8; }
  td, th, h2 { border-color: #444; }
}
`;

/** The page has no scripts, and of styles its own only. */
const styleHash = createHash('sha256').update(style).digest('base64');
export const pagePolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; frame-ancestors 'none'`;

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (sign) => entities[sign] ?? sign);
/** Escaped text in which `code` is marked. */
const prose = (text: string): string => escapeHtml(text).replace(/`([^`]*)`/g, '<code>$1</code>');
const row = (cells: readonly string[]): string => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
const anchor = ({ method, path }: Operation): string => escapeHtml(`${method}${path.replace(/\W+/g, '-')}`);

type Field = TSchema & { readonly expected?: string; readonly type?: string };
type ObjectSchema = TSchema & {
  readonly properties?: Readonly<Record<string, Field>>;
  readonly required?: readonly string[] | undefined;
};

function fieldsTable(schema: ObjectSchema): string {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const isRequired = schema.required?.includes(name) === true;
    return row([`<code>${escapeHtml(name)}</code>`, escapeHtml(field.expected ?? ''), isRequired ? 'required' : '']);
  });
  return `<table><tr><th>Field</th><th>Must be</th><th></th></tr>${rows.join('\n')}</table>`;
}

function exampleOf({ path, example }: Operation): string {
  if (example === undefined) return '';
  const data = JSON.stringify(example).replaceAll("'", "'\\''");
  const command = `curl http://127.0.0.1:8080${path} -H 'content-type: application/json' \\\n  -d '${data}'`;
  return `<pre>${escapeHtml(command)}</pre>`;
}

function section(operation: Operation): string {
  const { method, path, summary, body, ok, errors, others, isOpen } = operation;
  const statuses = [...(ok === undefined ? [] : [200]), ...errors, ...Object.keys(others ?? {}).map(Number)];
  if (isOpen !== true) statuses.push(401);
  const answers = statuses.sort().map((status) => row([String(status), prose(statusMeanings[status] ?? '')]));
  return `<h2 id="${anchor(operation)}"><span class="method">${method.toUpperCase()}</span> ${escapeHtml(path)}</h2>
<p>${prose(summary)}</p>
${exampleOf(operation)}
${body === undefined ? '' : fieldsTable(namedSchemas[body])}
<h3>Answers</h3>
<table>${answers.join('\n')}</table>`;
}

/** The API for people to read: plain HTML, which needs neither scripts nor the network. */
export function documentationPage(version: string): string {
  const links = operations.map((operation) => {
    const name = escapeHtml(`${operation.method.toUpperCase()} ${operation.path}`);
    return `<li><a href="#${anchor(operation)}"><code>${name}</code></a> ${prose(operation.summary)}</li>`;
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Nibble: HTTP API</title><meta name="viewport" content="width=device-width">
<style>${style}</style>
</head>
<body>
<h1>Nibble ${escapeHtml(version)}: HTTP API</h1>
<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1). OpenAI's client libraries work with this server
as they are: give them <code>/v1</code> of its address as base URL. Fields that aren't listed are ignored;
<code>null</code> means "not given".</p>
<ul>${links.join('\n')}</ul>
${operations.map(section).join('\n')}
</body>
</html>
`;
}
