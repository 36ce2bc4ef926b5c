/** Many requests at once to the real model, each as it is alone, bit by bit; the whole matrix runs on a small model. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertSameAnswers, CrowdModel, crowdRequests } from '../support/crowd.js';
import { defaultModelPath } from '../support/default-model.js';

const VOCAB = 49_152;
const CONTEXT = 160;

let model: CrowdModel;
before(async () => {
  model = await CrowdModel.load(await defaultModelPath(), 'kv4', CONTEXT, 64 * CONTEXT);
});
after(() => model.close());

test('64 requests in kv4, half of them with a common beginning', async () => {
  const requests = crowdRequests(VOCAB, { promptTokensMax: 40, newTokensMax: 10 }, true);
  const expected = await model.alone(requests);
  const { rounds } = await model.together(requests, {}, 2);
  for (const round of rounds) assertSameAnswers(round.answers, expected, 'kv4');
  assert.ok((rounds[1]?.cachedTokens ?? 0) > 1000);
});

test('sequences that lose their blocks and start again', async () => {
  // One block each at the start, and up to eight in the end.
  const growing = crowdRequests(VOCAB, { promptTokensMax: 4, newTokensMax: 110 }, false).slice(0, 12);
  const expected = await model.alone(growing);
  const { rounds, preemptions } = await model.together(growing, { kvBlockCount: 20 });
  assert.ok(preemptions > 0, 'nobody lost blocks, so nothing was shown');
  assertSameAnswers(rounds[0]?.answers ?? [], expected, 'kv4, short of blocks');
});
