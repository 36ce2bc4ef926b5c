import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GenerationEvent } from '../../src/engine/types.js';
import {
  collect,
  piecesTokenizer,
  promptOf,
  request,
  settleTurns,
  startKit,
  stopKit,
  submitOne,
} from '../support/engine-kit.js';

const perTurn = { mode: { kind: 'auto', turns: 1 } } as const;

describe('events', () => {
  it('come with each token to a reader that keeps up', async () => {
    const kit = startKit({ native: { ...perTurn, sample: (history) => 64 + history.length } });
    const events: GenerationEvent[] = [];
    for await (const event of submitOne(kit.engine, request([1], 3, { logprobs: null }))) events.push(event);
    assert.deepEqual(events, [
      { kind: 'text', text: 'A', tokenIds: [65], logprobs: [] },
      { kind: 'text', text: 'B', tokenIds: [66], logprobs: [] },
      { kind: 'text', text: 'C', tokenIds: [67], logprobs: [] },
      { kind: 'end', reason: 'length', completionTokens: 3, cachedTokens: 0 },
    ]);
    await stopKit(kit);
  });

  it('are merged for a reader that does not, and none is lost', async () => {
    const kit = startKit({ native: { sample: (history) => 64 + history.length } });
    const generation = submitOne(kit.engine, request([1, 2], 4, { scorePrompt: true, logprobs: 0 }));
    await kit.engine.drain();
    const events: GenerationEvent[] = [];
    for await (const event of generation) events.push(event);
    assert.deepEqual(
      events.map((event) => [event.kind, event.kind === 'text' ? event.text : '']),
      [
        ['prompt', ''],
        ['text', 'BCDE'],
        ['end', ''],
      ],
    );
    assert.ok(events[1]?.kind === 'text');
    assert.deepEqual([events[1].tokenIds, events[1].logprobs.length], [[66, 67, 68, 69], 4]);
    await stopKit(kit);
  });

  it('keep a token until its character is whole', async () => {
    const euro = new TextEncoder().encode('€');
    const tokenizer = piecesTokenizer(['p', euro.subarray(0, 1), euro.subarray(1, 2), euro.subarray(2), 'x']);
    const kit = startKit({ tokenizer, native: { ...perTurn, sample: (history) => history.length } });
    const texts: (readonly [string, readonly number[]])[] = [];
    for await (const event of submitOne(kit.engine, request([0], 4))) {
      if (event.kind === 'text') texts.push([event.text, event.tokenIds]);
    }
    assert.deepEqual(texts, [
      ['€', [1, 2, 3]],
      ['x', [4]],
    ]);
    await stopKit(kit);
  });

  it('end with the replacement character for half a character', async () => {
    const euro = new TextEncoder().encode('€');
    const kit = startKit({
      tokenizer: piecesTokenizer(['p', euro.subarray(0, 2)]),
      native: { sample: () => 1 },
    });
    const result = await collect(submitOne(kit.engine, request([0], 1)));
    assert.deepEqual([result.text, result.tokenIds], ['\ufffd', [1]]);
    await stopKit(kit);
  });

  it('are for one reader', async () => {
    const kit = startKit();
    const iterator = submitOne(kit.engine, request(promptOf(4, 1), 2))[Symbol.asyncIterator]();
    const first = iterator.next();
    await assert.rejects(iterator.next(), /one reader/);
    assert.equal((await first).done, false);
    await kit.engine.drain();
    await stopKit(kit);
  });
});

describe('observer', () => {
  it('hears of steps, tokens and times in seconds', async () => {
    let clockMs = 1000;
    const steps: unknown[] = [];
    const tokens: unknown[] = [];
    const finished: unknown[] = [];
    const kit = startKit({
      config: { lookAheadTokensMax: 0, sequencesMax: 1 },
      native: { mode: { kind: 'manual' } },
      now: () => clockMs,
      observer: {
        onStep: ({ prefillTokens, decodeTokens }) => steps.push([prefillTokens, decodeTokens]),
        onToken: ({ interTokenSeconds }) => tokens.push(interTokenSeconds),
        onFinished: (sequence) => finished.push(sequence),
      },
    });
    kit.engine.submit([request([1, 2, 3], 2), request([1, 2], 1)], new AbortController().signal);
    for (const atMs of [1500, 1750, 4000]) {
      await settleTurns();
      clockMs = atMs;
      kit.native.finish();
    }
    await kit.engine.drain();
    assert.deepEqual(steps, [
      [3, 0],
      [0, 1],
      [2, 0],
    ]);
    assert.deepEqual(tokens, [null, 0.25, null]);
    assert.deepEqual(finished, [
      {
        reason: 'length',
        promptTokens: 3,
        cachedTokens: 0,
        completionTokens: 2,
        queueSeconds: 0,
        firstTokenSeconds: 0.5,
        totalSeconds: 0.75,
      },
      {
        reason: 'length',
        promptTokens: 2,
        cachedTokens: 0,
        completionTokens: 1,
        queueSeconds: 0.75,
        firstTokenSeconds: 3,
        totalSeconds: 3,
      },
    ]);
    await stopKit(kit);
  });
});
