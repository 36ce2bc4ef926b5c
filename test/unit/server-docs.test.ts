import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CompletionRequest, expectedOf } from '../../src/server/schemas/completion-request.js';
import { createFakeServer } from '../support/fake-server.js';

const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8');

test('docs/api.md has a row for every field of a completion request, in the words of the schema', () => {
  const documented = [...page.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)].map(([, name, expected]) => [name, expected]);
  const known = Object.keys(CompletionRequest.properties).map((name) => [name, expectedOf(name)]);
  assert.deepEqual(documented.sort(), known.sort());
});

test('docs/api.md names every metric, and no others', async () => {
  const { body } = await createFakeServer().app.inject('/metrics');
  const exposed = [...body.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name ?? '');
  const ours = exposed.filter((name) => !name.startsWith('process_') && !/prefix_cache_\w+_total$/.test(name));
  const documented = [...page.matchAll(/`((?:vllm:|nibble_)\w+)`/g)].map(([, name]) => name ?? '');
  assert.deepEqual([...new Set(documented)].sort(), ours.sort());
});
