import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { NibbleError } from '../../src/errors.js';
import { byteTokenizer, type Collected, collect, promptOf, request, startKit, stopKit } from '../support/engine-kit.js';
import { fakeToken } from '../support/fake-text.js';

const endId = 3;
const arrival = fc.record({
  promptTokens: fc.integer({ min: 1, max: 60 }),
  salt: fc.nat(3),
  maxTokens: fc.integer({ min: 0, max: 25 }),
  choices: fc.integer({ min: 1, max: 3 }),
  /** Turns of the event loop before it arrives, and before its caller gives up (0: never). */
  delay: fc.nat(4),
  patience: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 12 })),
});
const machine = fc.record({
  sequencesMax: fc.integer({ min: 1, max: 4 }),
  stepTokensMax: fc.integer({ min: 4, max: 40 }),
  kvBlockCount: fc.integer({ min: 6, max: 30 }),
  waitingMax: fc.integer({ min: 2, max: 12 }),
  lookAheadTokensMax: fc.constantFrom(0, 4, 512),
  turns: fc.nat(2),
});

function continuation(prompt: Int32Array, maxTokens: number): number[] {
  const { sampling, promptIds } = request(prompt, 0);
  const history = [...prompt];
  while (history.length < prompt.length + maxTokens) {
    history.push(fakeToken(history, { ...sampling, promptIds, generatedIds: new Int32Array(0) }, 256));
    if (history.at(-1) === endId) break;
  }
  return history.slice(prompt.length);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('whatever arrives, leaves and waits beside it, a sequence gets its own tokens, and everything is given back', async () => {
  await fc.assert(
    fc.asyncProperty(machine, fc.array(arrival, { minLength: 1, maxLength: 8 }), async (limits, arrivals) => {
      const { turns, ...config } = limits;
      const kit = startKit({
        config: { ...config, contextTokensMax: 96 },
        native: { mode: { kind: 'auto', turns }, stepTokensMax: config.stepTokensMax },
        tokenizer: byteTokenizer([endId]),
      });
      const results: Promise<void>[] = [];
      for (const { promptTokens, salt, maxTokens, choices, delay, patience } of arrivals) {
        for (let i = 0; i < delay; i++) await turn();
        const controller = new AbortController();
        const prompt = promptOf(promptTokens, salt);
        const one = request(prompt, maxTokens);
        const expected = continuation(prompt, maxTokens);
        const check = (got: Collected): void => {
          const ended = expected.at(-1) === endId;
          if (got.reason === 'abort') {
            assert.notEqual(patience, 0);
            assert.deepEqual(got.tokenIds, expected.slice(0, got.tokenIds.length));
          } else {
            assert.deepEqual([got.reason, got.tokenIds], [ended ? 'stop' : 'length', expected]);
            assert.equal(got.completionTokens, expected.length);
          }
        };
        try {
          const generations = kit.engine.submit(new Array(choices).fill(one), controller.signal);
          results.push(...generations.map((generation) => collect(generation).then(check)));
        } catch (error) {
          assert.ok(error instanceof NibbleError);
          assert.ok(['queue_full', 'kv_capacity_exceeded'].includes(error.code), error.code);
        }
        if (patience > 0) results.push(giveUp(controller, patience));
      }
      await Promise.all(results);
      await stopKit(kit);
    }),
    { numRuns: 250 },
  );
});

async function giveUp(controller: AbortController, turns: number): Promise<void> {
  for (let i = 0; i < turns; i++) await turn();
  controller.abort();
}
