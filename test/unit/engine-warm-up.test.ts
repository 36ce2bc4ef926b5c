import assert from 'node:assert/strict';
import { test } from 'node:test';
import { warmUp } from '../../src/engine/warm-up.js';
import { KV_BLOCK_TOKENS } from '../../src/limits.js';
import { createFakeServer } from '../support/fake-server.js';

test('warming up runs a prompt and a decode to their end, and leaves no full block', async () => {
  const { engine, model } = createFakeServer();
  await warmUp(engine, model.tokenizer);
  const [request] = engine.submitted;
  assert.ok(request !== undefined && engine.submitted.length === 1);
  assert.ok(request.maxTokens >= 2, 'a prompt step and a decode step');
  assert.ok(request.promptIds.length + request.maxTokens < KV_BLOCK_TOKENS);
  assert.equal(engine.runningCount, 0);
});

test('what the model fails with is told', async () => {
  const error = new Error('not finite');
  const { engine, model } = createFakeServer({ failAfter: { choice: 0, tokens: 1, error } });
  await assert.rejects(warmUp(engine, model.tokenizer), error);
});
