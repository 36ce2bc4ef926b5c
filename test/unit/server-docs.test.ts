import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TSchema } from 'typebox';
import { ChatRequest } from '../../src/server/schemas/chat-request.js';
import { CompletionRequest } from '../../src/server/schemas/completion-request.js';
import { constraintFields } from '../../src/server/schemas/constraint-fields.js';
import { expectedAt, extensionFields, samplingFields, streamFields } from '../../src/server/schemas/fields.js';
import { ResponsesRequest } from '../../src/server/schemas/responses-request.js';
import { DetokenizeRequest, TokenizeRequest } from '../../src/server/schemas/tokens.js';
import { createFakeServer } from '../support/fake-server.js';

const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8');

/** The text below a heading, up to the next one of any depth. */
function sectionOf(heading: string): string {
  const start = page.indexOf(`\n${heading}\n`);
  assert.ok(start >= 0, heading);
  const rest = page.slice(start + heading.length + 2);
  return rest.slice(0, rest.search(/^##/m) + 1 || undefined);
}

const shared = { ...samplingFields, ...streamFields, ...extensionFields, ...constraintFields };
const sections: readonly (readonly [string, Readonly<Record<string, TSchema>>])[] = [
  ['### Fields of every endpoint that generates', shared],
  ['## POST /v1/completions', own(CompletionRequest)],
  ['## POST /v1/chat/completions', own(ChatRequest)],
  ['## POST /v1/responses', own(ResponsesRequest)],
  ['## POST /tokenize', TokenizeRequest.properties],
  ['## POST /detokenize', DetokenizeRequest.properties],
];

function own(schema: TSchema & { readonly properties: Readonly<Record<string, TSchema>> }) {
  return Object.fromEntries(Object.entries(schema.properties).filter(([name]) => !Object.hasOwn(shared, name)));
}

test('docs/api.md has a row for every field of a request, in the words of the schema', () => {
  for (const [heading, properties] of sections) {
    const rows = [...sectionOf(heading).matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)];
    const documented = rows.map(([, name, expected]) => [name, expected]);
    const known = Object.keys(properties).map((name) => [
      name,
      expectedAt({ properties } as unknown as TSchema, [name])?.expected,
    ]);
    assert.deepEqual(documented.sort(), known.sort(), heading);
  }
});

test('each of these rows names a test file that speaks of the field', () => {
  const rows = [...page.matchAll(/^\| `(\w+)` \|.*\| `([\w-]+)` \|$/gm)];
  assert.ok(rows.length > 25);
  for (const [, field = '', name = ''] of rows) {
    const paths = ['unit', 'e2e', 'integration'].map((folder) => `../${folder}/${name}.test.ts`);
    const urls = paths.map((path) => new URL(path, import.meta.url)).filter((url) => existsSync(url));
    const [url] = urls;
    assert.ok(url, `${field}: no test file ${name}`);
    assert.match(readFileSync(url, 'utf8'), new RegExp(`\\b${field}\\b`), `${field} in ${name}`);
  }
});

test('docs/api.md names every metric, and no others', async () => {
  const body = await createFakeServer().metrics.textWithKeys();
  const exposed = [...body.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name ?? '');
  const ours = exposed.filter((name) => !name.startsWith('process_') && !/prefix_cache_\w+_total$/.test(name));
  const documented = [...page.matchAll(/`((?:vllm:|nibble_)\w+)`/g)].map(([, name]) => name ?? '');
  assert.deepEqual([...new Set(documented)].sort(), ours.sort());
});
