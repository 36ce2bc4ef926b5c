/**
 * 64 requests at once, each as it is alone: token ids and log-probabilities, bit by bit, for every KV format, with and
 * without hits of the prefix cache, in chunks of 16 to 512 tokens, with sequences that lose their blocks.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { EngineConfig } from '../../src/engine/engine.js';
import type { KvFormat } from '../../src/native/contract.js';
import { assertSameAnswers, CROWD, CrowdModel, crowdRequests } from '../support/crowd.js';
import { modelFolder } from '../support/native-models.js';

let folder: Awaited<ReturnType<typeof modelFolder>>;
let path: string;
const VOCAB = 291;
/** Beginning, own part and answer: more than one attention split of 256. */
const sizes = { promptTokensMax: 250, newTokensMax: 30 };
const CONTEXT = 400;
/** Sequences that start with few blocks and want many more: when blocks are short, they lose them. */
const growing = { promptTokensMax: 40, newTokensMax: 120 };
const FEW_BLOCKS = 40;
const KV_TOKENS = 64 * CONTEXT;
before(async () => {
  folder = await modelFolder();
  path = await folder.write('crowd', { hidden: 96, heads: 6, kvHeads: 2, ffn: 160, vocab: VOCAB, context: CONTEXT });
});
after(() => folder.remove());

/** Longest chunk of a prompt → how to get there. 16: what is left to prompts when every decode is late. */
const chunkings: Readonly<Record<string, Partial<EngineConfig>>> = {
  'chunks of 16 beside decodes': { stepTokensMax: 512, itlTargetMs: 1e-6 },
  'steps of 64 tokens': { stepTokensMax: 64 },
  'steps of 512 tokens': { stepTokensMax: 512, itlTargetMs: Number.POSITIVE_INFINITY },
};

for (const kv of ['f16', 'kv8', 'k8v4', 'kv4'] satisfies KvFormat[]) {
  test(`${kv}: 64 at once, each as it is alone`, async () => {
    const model = await CrowdModel.load(path, kv, CONTEXT, KV_TOKENS);
    try {
      const apart = crowdRequests(VOCAB, sizes, false);
      const alike = crowdRequests(VOCAB, sizes, true);
      const expectedApart = await model.alone(apart);
      const expectedAlike = await model.alone(alike);
      const grown = crowdRequests(VOCAB, growing, true);
      const expectedGrown = await model.alone(grown);
      assert.ok(new Set(expectedAlike.map(({ text }) => text)).size > CROWD / 2, 'the answers differ, or show nothing');
      for (const [name, config] of Object.entries(chunkings)) {
        const { rounds } = await model.together(apart, config, 1);
        assert.equal(rounds[0]?.cachedTokens, 0, 'nothing in common');
        assertSameAnswers(rounds[0]?.answers ?? [], expectedApart, `${kv}, ${name}`);

        const hits = (await model.together(alike, config, 2)).rounds;
        // 16 prompts each begin with 2 and with 6 common blocks; all but four of them score their prompt or come first.
        assert.ok((hits[0]?.cachedTokens ?? 0) > 1000, `${name}: ${hits[0]?.cachedTokens} tokens cached`);
        assert.ok((hits[1]?.cachedTokens ?? 0) > 2 * (hits[0]?.cachedTokens ?? 0), 'the second round finds everything');
        for (const round of hits) assertSameAnswers(round.answers, expectedAlike, `${kv}, ${name}, shared beginnings`);

        const crammed = await model.together(grown, { ...config, kvBlockCount: FEW_BLOCKS }, 1);
        assert.ok(crammed.preemptions > 0, `${name}: ${crammed.preemptions} preemptions`);
        assertSameAnswers(crammed.rounds[0]?.answers ?? [], expectedGrown, `${kv}, ${name}, short of blocks`);
      }
    } finally {
      await model.close();
    }
  });
}
