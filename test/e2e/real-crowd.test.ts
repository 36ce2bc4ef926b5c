/** 64 requests at once to the real model, each as it is alone, bit by bit; the whole matrix runs on a small model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvFormat } from '../../src/native/contract.js';
import { assertSameAnswers, CrowdModel, crowdRequests } from '../support/crowd.js';
import { defaultModelPath } from '../support/default-model.js';

const VOCAB = 49_152;
const CONTEXT = 160;

for (const kv of ['f16', 'kv4'] satisfies KvFormat[]) {
  test(`${kv}: with prefix hits, and short of blocks`, async () => {
    const model = await CrowdModel.load(await defaultModelPath(), kv, CONTEXT, 64 * CONTEXT);
    try {
      const requests = crowdRequests(VOCAB, { promptTokensMax: 20, newTokensMax: 40 }, true);
      const expected = await model.alone(requests);
      const { rounds } = await model.together(requests, {}, 2);
      for (const round of rounds) assertSameAnswers(round.answers, expected, kv);
      assert.ok((rounds[1]?.cachedTokens ?? 0) > 1000);
      const crammed = await model.together(requests, { kvBlockCount: 24 });
      assert.ok(crammed.preemptions > 0, 'nobody lost blocks, so nothing was shown');
      assertSameAnswers(crammed.rounds[0]?.answers ?? [], expected, `${kv}, short of blocks`);
    } finally {
      await model.close();
    }
  });
}
