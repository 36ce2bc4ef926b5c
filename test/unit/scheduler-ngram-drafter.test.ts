import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { NgramDrafter } from '../../src/scheduler/ngram-drafter.js';

/** What followed the last `length` tokens of `text` the last time; undefined if they are new. */
function lastFollower(text: readonly number[], length: number): number | undefined {
  const end = text.slice(-length).join();
  for (let at = text.length - 1; at >= length; at--) {
    if (text.length >= length && text.slice(at - length, at).join() === end) return text[at];
  }
  return undefined;
}

function drafterOf(text: readonly number[]): NgramDrafter {
  const drafter = new NgramDrafter();
  drafter.update(Int32Array.from(text), text.length);
  return drafter;
}

it('guesses what followed the last three tokens, else the last two; without a match nothing', () => {
  const texts = fc.integer({ min: 1, max: 6 }).chain((top) => fc.array(fc.nat(top), { minLength: 1, maxLength: 60 }));
  fc.assert(
    fc.property(texts, (text) => {
      const drafter = drafterOf(text);
      const expected = lastFollower(text, 3) ?? lastFollower(text, 2);
      assert.equal(drafter.likelihood(0) > 0, expected !== undefined);
      if (expected !== undefined) assert.equal(drafter.token(0), expected);
    }),
    { numRuns: 2000 },
  );
});

it('follows a match as long as it is right, and searches again when it is not', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 2, maxLength: 80 }), fc.nat(3), (text, cut) => {
      const drafter = new NgramDrafter();
      const tokens = Int32Array.from(text);
      let guess: number | null = null;
      for (let known = 1; known <= text.length; known++) {
        // Now and then several tokens arrive at once.
        if (known % 5 === cut && known < text.length) {
          guess = null;
          continue;
        }
        const wasRight = guess !== null && guess === text[known - 1];
        drafter.update(tokens, known);
        guess = drafter.likelihood(0) > 0 ? drafter.token(0) : null;
        const part = text.slice(0, known);
        const fresh = lastFollower(part, 3) ?? lastFollower(part, 2);
        assert.equal(guess === null, fresh === undefined, `after ${part}`);
        // A match that goes on is kept, though the same tokens may have stood elsewhere since.
        if (!wasRight && known % 5 !== (cut + 1) % 5) assert.equal(guess ?? undefined, fresh, `after ${part}`);
      }
    }),
    { numRuns: 2000 },
  );
});

it('finds in a long text what stood far away', () => {
  const text = Array.from({ length: 9000 }, (_, i) => (i * i * 7919 + i * 31) % 49_157);
  const again = text.slice(1234, 1240);
  const drafter = drafterOf([...text, ...again]);
  assert.deepEqual(
    Array.from({ length: 7 }, (_, i) => drafter.token(i)),
    text.slice(1240, 1247),
  );
});

it('looks at a very long prompt little by little, as its answer grows', () => {
  const text = Int32Array.from({ length: 20_000 }, (_, i) => (i * i * 7919 + i * 31) % 49_157);
  // The answer repeats what stood near the end of the prompt, again and again.
  const tokens = Int32Array.from([...text, ...Array.from({ length: 60 }, (_, i) => text[19_900 + (i % 6)] as number)]);
  const drafter = new NgramDrafter();
  drafter.update(tokens, text.length + 4);
  assert.equal(drafter.likelihood(0), 0, 'so far the beginning only');
  for (let known = text.length + 5; known <= tokens.length; known++) drafter.update(tokens, known);
  assert.ok(drafter.likelihood(0) > 0);
  assert.equal(drafter.token(0), text[19_900]);
});

it('goes round where the match runs into the end of the text', () => {
  const drafter = drafterOf([9, 8, 1, 2, 3, 1, 2, 3, 1, 2]);
  assert.deepEqual(
    Array.from({ length: 8 }, (_, i) => drafter.token(i)),
    [3, 1, 2, 3, 1, 2, 3, 1],
  );
});

it('its chances are those of the past, and fall with every further token', () => {
  const drafter = new NgramDrafter();
  const text: number[] = [];
  const say = (token: number): number => {
    text.push(token);
    drafter.update(Int32Array.from(text), text.length);
    return drafter.likelihood(0);
  };
  for (const token of [1, 2, 3, 4, 5, 6, 7, 8]) assert.equal(say(token), 0);
  say(1);
  const early = say(2);
  for (let round = 0; round < 20; round++) for (let i = 0; i < 8; i++) say(((i + 2) % 8) + 1);
  const sure = drafter.likelihood(0);
  assert.ok(early > 0 && early < sure && sure > 0.95, `${early}, then ${sure}`);
  for (let i = 0; i < 6; i++) assert.ok(drafter.likelihood(i + 1) < drafter.likelihood(i));
  // From here on every pair is followed by something new each time.
  let last = 1;
  for (let i = 0; i < 60; i++) {
    say(1000 + i);
    say(50);
    last = say(51);
  }
  assert.ok(last < 0.05, `${last}`);
});
