import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GenerationRequest } from '../../src/engine/types.js';
import { NibbleError } from '../../src/errors.js';
import {
  byteTokenizer,
  collect,
  promptOf,
  request,
  settleTurns,
  startKit,
  stopKit,
  submitOne,
} from '../support/engine-kit.js';

const signal = new AbortController().signal;

function refusal(act: () => unknown): NibbleError {
  try {
    act();
  } catch (error) {
    if (error instanceof NibbleError) return error;
    throw error;
  }
  return assert.fail('nothing was thrown');
}

describe('refusals', () => {
  it('name the prompt that is longer than the context', async () => {
    const kit = startKit({ config: { contextTokensMax: 32 } });
    const error = refusal(() => kit.engine.submit([request(promptOf(33, 1), 1)], signal));
    assert.deepEqual([error.code, error.status, error.param], ['context_length_exceeded', 400, 'prompt']);
    assert.match(error.message, /33 tokens; the limit of this server is 32/);
    await stopKit(kit);
  });

  it('name what the whole pool cannot hold', async () => {
    const kit = startKit({ config: { kvBlockCount: 4 } });
    const error = refusal(() => kit.engine.submit([request(promptOf(33, 1), 40)], signal));
    assert.equal(error.code, 'kv_capacity_exceeded');
    assert.match(error.message, /73 tokens of KV cache; the whole pool holds 64/);
    await stopKit(kit);
  });

  it('take all or none of a request when the queue is full', async () => {
    const kit = startKit({ config: { sequencesMax: 1, waitingMax: 2 } });
    const one = request(promptOf(3, 1), 2);
    const first = kit.engine.submit([one, one], signal);
    const error = refusal(() => kit.engine.submit([one, one], signal));
    assert.deepEqual([error.code, error.status], ['queue_full', 429]);
    assert.ok((error.retryAfterSeconds ?? 0) > 0);
    assert.equal(kit.engine.gauges().waiting, 1);
    const second = kit.engine.submit([one], signal);
    const results = await Promise.all([...first, ...second].map(collect));
    assert.equal(results.length, 3);
    await stopKit(kit);
  });

  it('keep bad values from ever reaching the addon', async () => {
    const kit = startKit();
    const wrong: readonly GenerationRequest[] = [
      request([], 1),
      request([1, 256], 1),
      request([-1], 1),
      request([1], -1),
      request([1], 1.5),
      request([1], Number.NaN),
      request([1], 1, { logprobs: 21 }),
      request([1], 1, { logprobs: -1 }),
    ];
    for (const one of wrong) {
      assert.equal(refusal(() => kit.engine.submit([request([1], 1), one], signal)).code, 'invalid_request');
    }
    assert.deepEqual(kit.engine.gauges(), {
      running: 0,
      waiting: 0,
      kvBlocksTotal: 256,
      kvBlocksUsed: 0,
      kvBlocksCached: 0,
      queueSeconds: 0,
      preemptions: 0,
      stepCostMs: [1, 1, 0.2, 1e-4, 1e-3],
      speculation: { drafts: 0, draftTokens: 0, acceptedTokens: 0 },
    });
    await stopKit(kit);
  });

  it('turn new work away while draining', async () => {
    const kit = startKit();
    const generation = submitOne(kit.engine, request(promptOf(4, 1), 3));
    const drained = kit.engine.drain();
    assert.equal(refusal(() => kit.engine.submit([request([1], 1)], signal)).code, 'draining');
    assert.equal((await collect(generation)).completionTokens, 3);
    await drained;
    await stopKit(kit);
  });
});

describe('failures', () => {
  it('of a row end only its sequence', async () => {
    const reasons: string[] = [];
    const kit = startKit({
      native: { isFailed: (history) => history[0] === 7 && history.length === 6 },
      observer: { onFinished: ({ reason }) => reasons.push(reason) },
    });
    const [bad, good] = kit.engine.submit([request([7, 1, 2, 3], 9), request([8, 1, 2, 3], 9)], signal);
    assert.ok(bad !== undefined && good !== undefined);
    const [failure, result] = await Promise.allSettled([collect(bad), collect(good)]);
    assert.ok(failure.status === 'rejected' && failure.reason instanceof NibbleError);
    assert.equal(failure.reason.code, 'not_finite');
    assert.ok(result.status === 'fulfilled');
    assert.equal(result.value.completionTokens, 9);
    assert.deepEqual(reasons, ['error', 'length']);
    await stopKit(kit);
  });

  it('of a scoring row count as well', async () => {
    const kit = startKit({ native: { isFailed: (history) => history.length === 3 } });
    const generation = submitOne(kit.engine, request(promptOf(9, 1), 1, { scorePrompt: true, logprobs: 0 }));
    await assert.rejects(collect(generation), { code: 'not_finite' });
    await stopKit(kit);
  });

  for (const lookAheadTokensMax of [0, 64]) {
    it(`of a step end only the sequences in it, looking ahead over ${lookAheadTokensMax}`, async () => {
      const kit = startKit({ config: { lookAheadTokensMax }, native: { mode: { kind: 'manual' } } });
      const first = submitOne(kit.engine, request(promptOf(4, 1), 6));
      kit.native.stepFaults.push(new Error('position out of range'));
      await settleTurns();
      const second = submitOne(kit.engine, request(promptOf(4, 2), 3));
      await assert.rejects(collect(first), { code: 'engine_failed', message: /position out of range/ });
      // With look-ahead a step that needs the failed one's sample is in flight already; it fails alone.
      for (let i = 0; i < (lookAheadTokensMax === 0 ? 3 : 4); i++) {
        await settleTurns();
        kit.native.finish();
      }
      assert.equal((await collect(second)).completionTokens, 3);
      await stopKit(kit);
    });
  }

  it('of the step behind a running one wait for their turn', async () => {
    const kit = startKit({ native: { mode: { kind: 'manual' } } });
    kit.native.stepFaults.push(null, new Error('no memory'));
    const generation = submitOne(kit.engine, request(promptOf(4, 1), 6));
    const events: string[] = [];
    const read = (async () => {
      for await (const event of generation) events.push(event.kind);
    })();
    await settleTurns();
    assert.deepEqual(events, []);
    kit.native.finish();
    await assert.rejects(read, { code: 'engine_failed' });
    // The first step's token was good and is delivered before the error.
    assert.deepEqual(events, ['text']);
    await stopKit(kit);
  });

  it('to open a slot end the sequence and give its blocks back', async () => {
    const kit = startKit();
    kit.native.openFaults.push(new Error('sampling out of range'));
    const [bad, good] = kit.engine.submit([request([1], 2), request([2], 2)], signal);
    assert.ok(bad !== undefined && good !== undefined);
    await assert.rejects(collect(bad), { code: 'engine_failed', message: /sampling out of range/ });
    assert.equal((await collect(good)).completionTokens, 2);
    await stopKit(kit);
  });

  it('to open the last slot let a drain finish', async () => {
    const kit = startKit({ config: { sequencesMax: 1 } });
    const [first, second] = kit.engine.submit([request([1], 2), request([2], 2)], signal);
    assert.ok(first !== undefined && second !== undefined);
    kit.native.openFaults.push(new Error('out of memory'));
    const drained = kit.engine.drain();
    await collect(first);
    await assert.rejects(collect(second), { code: 'engine_failed' });
    await drained;
    await stopKit(kit);
  });

  it('of the tokenizer end the sequence, even at its end', async () => {
    for (const broken of ['push', 'flush'] as const) {
      const good = byteTokenizer();
      const fail = (): never => assert.fail('broken tokenizer');
      const tokenizer = { ...good, createDetokenizer: () => ({ ...good.createDetokenizer(), [broken]: fail }) };
      const kit = startKit({ tokenizer });
      await assert.rejects(collect(submitOne(kit.engine, request([1], 2))), { code: 'internal' });
      await stopKit(kit);
    }
  });
});
