/** `token_pruning` of requests, and what the policy of the server and the recipe of the model make of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planPruning } from '../../src/engine/pruning.js';
import { complete, createFakeServer, type FakeServerOptions, post } from '../support/fake-server.js';

const usualPruning = planPruning({ keep: 0.25, afterLayer: 2, stages: 2 }, 30) ?? assert.fail();

/** Sends both kinds of request; the answers, and what the engine was asked to prune. */
async function ask(body: object, options: FakeServerOptions = {}) {
  const server = createFakeServer(options);
  const common = { model: 'fake-model', max_tokens: 2, ...body };
  const answers = [
    await complete(server, { prompt: 'a', ...common }),
    await post(server, '/v1/chat/completions', { messages: [{ role: 'user', content: 'a' }], ...common }),
  ];
  const pruned = server.engine.submitted.map(({ pruning }) => pruning);
  await server.app.close();
  return { answers, pruned };
}

test('a request prunes its prompt; places have defaults', async () => {
  const { answers, pruned } = await ask({ token_pruning: { keep: 0.5, after_layer: 3, stages: 2 } });
  for (const { status } of answers) assert.equal(status, 200);
  const expected = planPruning({ keep: 0.5, afterLayer: 3, stages: 2 }, 30);
  assert.deepEqual(pruned, [expected, expected]);
  // A quarter of 30 layers, and one stage.
  const usual = planPruning({ keep: 0.5, afterLayer: 7, stages: 1 }, 30);
  assert.deepEqual((await ask({ token_pruning: { keep: 0.5 } })).pruned, [usual, usual]);
});

test('a recipe prunes what requests leave open; keep 1 prunes nothing', async () => {
  assert.deepEqual((await ask({}, { usualPruning })).pruned, [usualPruning, usualPruning]);
  assert.deepEqual((await ask({ token_pruning: null }, { usualPruning })).pruned, [usualPruning, usualPruning]);
  assert.deepEqual((await ask({ token_pruning: { keep: 1 } }, { usualPruning })).pruned, [undefined, undefined]);
  assert.deepEqual((await ask({})).pruned, [undefined, undefined]);
});

test('where the policy is off a request for it is refused, and the recipe prunes nothing', async () => {
  const off = { allowsPruning: false, usualPruning };
  for (const { status, json } of (await ask({ token_pruning: { keep: 0.5 } }, off)).answers) {
    assert.equal(status, 400);
    const { code, param } = json().error;
    assert.deepEqual([code, param], ['unsupported_parameter', 'token_pruning']);
  }
  assert.deepEqual((await ask({}, off)).pruned, [undefined, undefined]);
});

const refused: readonly (readonly [param: string, value: unknown])[] = [
  ['token_pruning', 0.5],
  ['token_pruning', {}],
  ['token_pruning.keep', { keep: 0 }],
  ['token_pruning.keep', { keep: 1.5 }],
  ['token_pruning.after_layer', { keep: 0.5, after_layer: -1 }],
  ['token_pruning.after_layer', { keep: 0.5, after_layer: 29 }],
  ['token_pruning.after_layer', { keep: 0.5, after_layer: 27, stages: 3 }],
  ['token_pruning.stages', { keep: 0.5, stages: 5 }],
];
for (const [param, value] of refused) {
  test(`refused: ${JSON.stringify(value)}`, async () => {
    for (const { status, json } of (await ask({ token_pruning: value })).answers) {
      assert.equal(status, 400);
      assert.equal(json().error.param.startsWith(param), true, json().error.param);
    }
  });
}
