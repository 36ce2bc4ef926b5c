/** The page at `/`, as it is served. What it does is tried in a browser (test/e2e/real-page). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { KeyStore } from '../../src/server/access/keys.js';
import { createFakeServer } from '../support/fake-server.js';

const page = '<!doctype html><style>p{color:red}</style><script>let a = 1 < 2;</script>';
const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

test('the policy lets the page run its own script and style, ask its own server, and nothing else', async () => {
  const { app } = createFakeServer({ page, keys: new KeyStore([{ name: 'a', hash: Buffer.alloc(32), limits: {} }]) });
  const response = await app.inject('/');
  assert.equal(response.statusCode, 200, 'a page needs no key');
  assert.equal(response.body, page);
  assert.equal(response.headers['content-type'], 'text/html; charset=utf-8');
  const policy = String(response.headers['content-security-policy']).split('; ');
  assert.ok(policy.includes("default-src 'none'"));
  assert.ok(policy.includes(`script-src ${hash('let a = 1 < 2;')}`));
  assert.ok(policy.includes(`style-src ${hash('p{color:red}')}`));
  assert.ok(policy.includes("connect-src 'self'"));
  assert.ok(policy.includes("frame-ancestors 'none'"));
});

test('without a page the path is unknown, as others are', async () => {
  const response = await createFakeServer({ page: null }).app.inject('/');
  assert.equal(response.statusCode, 404);
  assert.equal(typeof response.json().error.message, 'string');
});
