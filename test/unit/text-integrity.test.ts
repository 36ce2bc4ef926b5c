/** Text of any script comes out of tokens that are cut anywhere, whole and in order, and stop strings never show. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventChannel } from '../../src/engine/event-channel.js';
import { StopMatcher } from '../../src/engine/stop-matcher.js';
import { TextOutput } from '../../src/engine/text-output.js';
import { createTokenizer } from '../../src/model/tokenizer/index.js';
import { Random } from '../../src/random.js';
import { byteChar, byteLevel } from '../support/tokenizer-vocabularies.js';

const TEXTS = 1000;
const random = new Random(Number(process.env.NIBBLE_SEED ?? 1));
const pick = <T>(list: readonly T[]): T => list[random.below(list.length)] as T;

/** Emoji with modifiers and joiners, CJK within and beyond the basic plane, combining marks, scripts, plain text. */
const clusters = [
  ...['😀', '👩🏽‍🚀', '👨‍👩‍👧‍👦', '🇫🇷', '❤️', '1️⃣', '漢字', '日本', '한국', '𠮷', '中。', 'é', 'ạ̈', 'Z͑ͫ̓', 'ไทย', 'हिन्दी'],
  ...['عربى', 'שָׁלוֹם', 'ß', 'ı', '\u200b', '\u00a0', '\ufeff', '\n', ' ', ' the', 'END', 'a', 'b', '</s>', '"'],
];

type Case = { readonly text: string; readonly pieces: readonly string[]; readonly stops: readonly string[] };

/** A text, its bytes cut at random places (as names of byte-level tokens), and stop strings out of its middle. */
function drawCase(): Case {
  const text = Array.from({ length: 1 + random.below(12) }, () => pick(clusters)).join('');
  const bytes = [...new TextEncoder().encode(text)].map(byteChar);
  const pieces: string[] = [];
  while (bytes.length > 0) pieces.push(bytes.splice(0, 1 + random.below(6)).join(''));
  const points = [...text];
  const stops = Array.from({ length: random.below(5) }, () => {
    const start = random.below(points.length);
    const cut = points.slice(start, start + 1 + random.below(4)).join('');
    // Half of them go on differently from the text, so that they only look like a stop for a while.
    return random.below(2) === 0 ? cut : cut + pick(clusters);
  });
  return { text, pieces, stops };
}

/** What each reading of the stream gave, one after each token. */
async function readPieces(output: TextOutput, channel: EventChannel, ids: readonly number[]): Promise<string[]> {
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of channel) if (event.kind === 'text') seen.push(event.text);
  })();
  for (const id of ids) {
    const isOver = output.push(id, null);
    await new Promise((resolve) => setImmediate(resolve));
    if (isOver) break;
  }
  output.finish();
  channel.pushEnd({ kind: 'end', reason: 'stop', completionTokens: ids.length, cachedTokens: 0 });
  await reading;
  return seen;
}

test(`${TEXTS} texts of many scripts, cut into tokens anywhere`, async () => {
  const cases = Array.from({ length: TEXTS }, drawCase);
  const tokens = [...new Set(cases.flatMap(({ pieces }) => pieces).filter((piece) => piece.length > 1))];
  const metadata = byteLevel({ tokens });
  const tokenizer = createTokenizer(metadata);
  const idOf = new Map(metadata.tokens.map((token, id) => [token, id]));
  let [stopped, multiple] = [0, 0];
  for (const { text, pieces, stops } of cases) {
    const ids = pieces.map((piece) => idOf.get(piece) ?? assert.fail(piece));
    assert.equal(tokenizer.decode(ids), text);
    const channel = new EventChannel(() => {});
    const matcher = stops.length === 0 ? null : new StopMatcher(stops);
    const output = new TextOutput(tokenizer.createDetokenizer(), matcher, channel, {
      includeStop: false,
      minTokens: 0,
    });
    const seen = await readPieces(output, channel, ids);
    const starts = stops.map((stop) => text.indexOf(stop)).filter((start) => start >= 0);
    const expected = text.slice(0, Math.min(text.length, ...starts));
    assert.equal(seen.join(''), expected, JSON.stringify({ text, stops }));
    // Half a surrogate pair or a replaced byte could still be joined to the right text; neither may be sent.
    for (const piece of seen) assert.doesNotMatch(piece, /\p{Surrogate}|\ufffd/u);
    if (starts.length > 0) stopped += 1;
    if (seen.length > 2) multiple += 1;
  }
  assert.ok(stopped > TEXTS / 10 && multiple > TEXTS / 3, `${stopped} stopped, ${multiple} came in several pieces`);
});
