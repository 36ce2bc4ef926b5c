import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { StopMatcher } from '../../src/engine/stop-matcher.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import { collect, piecesTokenizer, request, startKit, stopKit, submitOne } from '../support/engine-kit.js';

/** Where the first occurrence begins, looking at the whole text at once. */
function firstOccurrence(text: string, stops: readonly string[]): number | null {
  const starts = stops.filter((stop) => stop !== '').map((stop) => text.indexOf(stop));
  const found = starts.filter((start) => start >= 0);
  return found.length === 0 ? null : Math.min(...found);
}

/** Generates `pieces` one token each (then the last one for ever) from a one-token prompt. */
async function generate(
  pieces: readonly string[],
  stop: readonly string[],
  maxTokens = pieces.length,
  more: Partial<GenerationRequest> = {},
) {
  const vocabulary = ['<prompt>', '<end>', ...pieces];
  const kit = startKit({
    tokenizer: piecesTokenizer(vocabulary, [1]),
    native: {
      // One turn a step, so that the reader sees each step's text by itself.
      mode: { kind: 'auto', turns: 1 },
      sample: (history) => Math.min(history.length + 1, vocabulary.length - 1),
    },
  });
  const shown: string[] = [];
  const generation = submitOne(kit.engine, request([0], maxTokens, { stop, ...more }));
  const result = await collect(
    (async function* () {
      for await (const event of generation) {
        if (event.kind === 'text') shown.push(event.text);
        yield event;
      }
    })(),
  );
  await stopKit(kit);
  return { ...result, shown };
}

describe('stop strings', () => {
  it('end the text before their first occurrence, across token boundaries', async () => {
    const result = await generate(['one', ' tw', 'o EN', 'D th', 'ree'], ['END']);
    assert.equal(result.text, 'one two ');
    assert.equal(result.reason, 'stop');
    assert.equal(result.completionTokens, 4);
    // ' th' shares its token with the stop string; tokens that begin before the cut are reported.
    assert.deepEqual(result.tokenIds, [2, 3, 4]);
  });

  it('leave out the tokens that begin with them', async () => {
    const result = await generate(['one ', 'EN', 'D'], ['END']);
    assert.deepEqual([result.text, result.tokenIds, result.completionTokens], ['one ', [2], 3]);
  });

  it('stay in the text with includeStop, which then ends after them', async () => {
    const result = await generate(['one ', 'EN', 'Dx', 'y'], ['END'], 4, { includeStop: true });
    assert.deepEqual([result.text, result.tokenIds, result.reason], ['one END', [2, 3, 4], 'stop']);
    // Of two that begin at one place the shorter ends the text, whatever else was hoped for.
    const two = await generate(['a', 'bc', 'd'], ['abcdX', 'bcd', 'bc'], 3, { includeStop: true });
    assert.deepEqual([two.text, two.reason], ['abc', 'stop']);
  });

  it('count only after minTokens tokens', async () => {
    const result = await generate(['EN', 'D a', 'EN', 'D b'], ['END'], 4, { minTokens: 2 });
    assert.deepEqual([result.text, result.reason, result.completionTokens], ['END a', 'stop', 4]);
    // What began too early doesn't count either.
    const early = await generate(['EN', 'D', 'x'], ['END'], 3, { minTokens: 1 });
    assert.deepEqual([early.text, early.reason], ['ENDx', 'length']);
  });

  it('release text that only looked like a beginning', async () => {
    const result = await generate(['a', 'EN', 'x', 'E', 'NDx'], ['ENDy']);
    assert.deepEqual([result.text, result.reason], ['aENxENDx', 'length']);
    assert.deepEqual(result.tokenIds, [2, 3, 4, 5, 6]);
  });

  it('hold back nothing but a possible beginning', async () => {
    const result = await generate(['abc', 'xxE', 'q', 'E'], ['END']);
    assert.deepEqual(result.shown, ['abc', 'xx', 'Eq', 'E']);
  });

  it('wait for a string that began earlier', async () => {
    assert.equal((await generate(['abc', 'd', 'e'], ['abcd', 'bc'])).text, '');
    assert.equal((await generate(['abc', 'x', 'e'], ['abcd', 'bc'])).text, 'a');
  });

  it('count even if the last token leaves a doubt', async () => {
    const result = await generate(['abc'], ['abcd', 'bc']);
    assert.deepEqual([result.text, result.reason], ['a', 'stop']);
  });

  it('match characters outside the basic plane, never half of one', async () => {
    const result = await generate(['x', '😀', '😁', 'y'], ['😁', '\ude00']);
    assert.deepEqual([result.text, result.reason], ['x😀', 'stop']);
  });

  it('never leak a character and never swallow one, however the text is cut', async () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 24 }).map((list) => list.join(''));
    const stops = fc.array(
      fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 5 }).map((list) => list.join('')),
      {
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(
        text,
        stops,
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 24, maxLength: 24 }),
        (...args) => {
          const [whole, list, cuts] = args;
          const matcher = new StopMatcher(list);
          const expected = firstOccurrence(whole, list);
          let at = 0;
          for (const cut of cuts) {
            const piece = whole.slice(at, at + cut);
            at += piece.length;
            matcher.push(piece);
            const seen = whole.slice(0, at);
            // Any continuation may follow, so nothing at or after a beginning that is still open may be shown ...
            let open = firstOccurrence(seen, list) ?? at;
            for (let start = 0; start < open; start++) {
              if (list.some((stop) => stop.length > at - start && stop.startsWith(seen.slice(start)))) open = start;
            }
            assert.equal(matcher.safeLength, open);
            // ... and a match is settled exactly if it is the earliest of all that may come.
            assert.equal(matcher.settledMatch, firstOccurrence(seen, list) === open ? open : null);
            if (matcher.settledMatch !== null) break;
          }
          if (at === whole.length || matcher.settledMatch !== null) assert.equal(matcher.matchSoFar, expected);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe('end tokens', () => {
  const tokenizer = piecesTokenizer(['p', '', 'a', 'b'], [1]);
  const script = [2, 3, 1, 2, 3];
  const sample = (history: readonly number[]): number => script[history.length - 1] ?? 2;

  it('end with stop and are not part of the text', async () => {
    const kit = startKit({ tokenizer, native: { sample } });
    const result = await collect(submitOne(kit.engine, request([0], 5, { logprobs: 0 })));
    assert.deepEqual([result.text, result.reason, result.completionTokens], ['ab', 'stop', 3]);
    assert.deepEqual(result.tokenIds, [2, 3, 1]); // reported, so that scores and counts agree
    assert.equal(result.logprobs.length, 3);
    await stopKit(kit);
  });

  it('may be further ids, which ignoreEos does not concern and includeStop shows', async () => {
    const pieces = ['a', 'b', 'c', 'd'];
    const stopIds = new Set([4]);
    const plain = await generate(pieces, [], 4, { stopIds, ignoreEos: true });
    assert.deepEqual([plain.text, plain.tokenIds, plain.reason], ['ab', [2, 3, 4], 'stop']);
    const shown = await generate(pieces, [], 4, { stopIds, includeStop: true });
    assert.deepEqual([shown.text, shown.tokenIds, shown.reason], ['abc', [2, 3, 4], 'stop']);
  });

  it('are forbidden natively before minTokens, with the stop tokens and without those that are ignored', async () => {
    const kit = startKit({ tokenizer, native: { sample } });
    const opened: (readonly [number | undefined, readonly number[]])[] = [];
    const open = kit.native.openSlot.bind(kit.native);
    kit.native.openSlot = (spec) => {
      opened.push([spec.minTokens, [...(spec.endIds ?? [])]]);
      return open(spec);
    };
    const stopIds = new Set([2]);
    for (const more of [{}, { minTokens: 3, stopIds }, { minTokens: 3, stopIds, ignoreEos: true }]) {
      await collect(submitOne(kit.engine, request([0], 4, more)));
    }
    const [end] = tokenizer.endIds;
    assert.deepEqual(opened, [
      [undefined, []],
      [3, [end, 2]],
      [3, [2]],
    ]);
    await stopKit(kit);
  });

  it('are ordinary tokens with ignoreEos', async () => {
    const kit = startKit({ tokenizer, native: { sample } });
    const result = await collect(submitOne(kit.engine, request([0], 5, { ignoreEos: true })));
    assert.deepEqual([result.text, result.reason, result.completionTokens], ['abab', 'length', 5]);
    assert.deepEqual(result.tokenIds, script);
    await stopKit(kit);
  });
});
