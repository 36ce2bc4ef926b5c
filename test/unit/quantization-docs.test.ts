import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkDocument } from '../support/generated-docs.js';
import { withTables } from '../support/quantization-docs.js';

test('docs/quantization.md has every field, format and named recipe', () => {
  const page = readFileSync(new URL('../../docs/quantization.md', import.meta.url), 'utf8');
  checkDocument('quantization.md', withTables(page));
});
