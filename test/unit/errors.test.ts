import assert from 'node:assert/strict';
import { readFile, rename } from 'node:fs/promises';
import { test } from 'node:test';
import { errorTable, NibbleError, reasonOf } from '../../src/errors.js';
import { checkDocument, errorsDocument } from '../support/generated-docs.js';

test('docs/errors.md lists exactly the codes of the table', () => {
  checkDocument('errors.md', errorsDocument());
});

test('types go with the statuses that the OpenAI contract gives them', () => {
  const statuses: Record<string, readonly number[]> = {
    invalid_request_error: [400, 405, 409, 413, 415, 421],
    authentication_error: [401, 403],
    not_found_error: [404],
    rate_limit_error: [429],
    server_error: [500, 502, 504],
    unavailable_error: [503],
  };
  for (const [code, { status, type }] of Object.entries(errorTable)) {
    assert.ok(statuses[type]?.includes(status), `${code}: ${type} with ${status}`);
    assert.match(code, /^[a-z]+(_[a-z]+)*$/);
  }
});

test('an error carries its row, its parameters in the message, and what the caller adds', () => {
  const cause = new Error('why');
  const error = new NibbleError('queue_full', { waiting: 7 }, { param: 'n', retryAfterSeconds: 3, cause });
  assert.equal(error.code, 'queue_full');
  assert.equal(error.status, 429);
  assert.equal(error.type, 'rate_limit_error');
  assert.equal(error.param, 'n');
  assert.equal(error.retryAfterSeconds, 3);
  assert.equal(error.cause, cause);
  assert.match(error.message, /^7 sequences/);
  assert.equal(new NibbleError('internal', {}).param, null);
});

test('a reason is what the system says, without what the message around it has', async () => {
  const reason = async (refused: Promise<unknown>) => reasonOf(await refused.catch((error: unknown) => error));
  assert.equal(await reason(readFile('/no/such/file')), 'no such file or directory');
  assert.equal(await reason(readFile('/')), 'illegal operation on a directory');
  assert.equal(await reason(rename('/no/such', "/no/'such'")), 'no such file or directory');
  assert.equal(reasonOf(new Error('ODD: a comma, word')), 'ODD: a comma, word');
  assert.equal(reasonOf('text'), 'text');
});
