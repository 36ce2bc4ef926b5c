/** Streamed text is the unstreamed text, byte by byte, whatever script it is in and wherever it stops. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Random } from '../../src/random.js';
import { joinText, RealServer } from '../support/real-server.js';

const PROMPTS = 1000;
const PROMPTS_AT_ONCE = 50;
const STOPPED_PROMPTS = 200;
const random = new Random(Number(process.env.NIBBLE_SEED ?? 1));
const pick = <T>(list: readonly T[]): T => list[random.below(list.length)] as T;

const clusters = [
  ...['😀', '👩🏽‍🚀', '👨‍👩‍👧', '🇫🇷', '❤️', '1️⃣', '漢字', '日本語', '한국어', '𠮷', '。', 'é', 'ạ̈', 'Z͑ͫ̓', 'ไทย', 'हिन्दी'],
  ...['عربى', 'שָׁלוֹם', 'ß', '\u200b', '\u00a0', '\n', ' ', ' the', ' and', 'Translate: ', '"', '🎉 party', 'naïve'],
];

let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '16384'] });
});
after(() => server.stop());

/** A seed and a high temperature: tokens of few bytes, which are parts of characters, come often. */
const wild = (prompt: unknown, seed: number) => ({ prompt, seed, temperature: 2, max_tokens: 6, ignore_eos: true });

test(`${PROMPTS} prompts of many scripts: the pieces of a stream are the whole text`, async () => {
  let severalPieces = 0;
  for (let done = 0; done < PROMPTS; done += PROMPTS_AT_ONCE) {
    const prompts = Array.from({ length: PROMPTS_AT_ONCE }, () =>
      Array.from({ length: 1 + random.below(5) }, () => pick(clusters)).join(''),
    );
    const body = { ...wild(prompts, done), echo: true };
    const whole = await server.complete(body);
    const chunks = await server.stream(body);
    for (const { index, text } of whole.choices) {
      const [prompt = ''] = prompts.slice(index);
      assert.ok(text.startsWith(prompt));
      assert.deepEqual(Buffer.from(joinText(chunks, index)), Buffer.from(text), prompt);
    }
    severalPieces += chunks.length / PROMPTS_AT_ONCE > 3 ? 1 : 0;
  }
  assert.ok(severalPieces > 0);
});

test(`${STOPPED_PROMPTS} texts that stop anywhere show nothing of the stop string`, async () => {
  const prompts = Array.from({ length: STOPPED_PROMPTS }, () => `${pick(clusters)}${pick(clusters)}`);
  const whole = await server.complete(wild(prompts.slice(0, 100), 1));
  const more = await server.complete(wild(prompts.slice(100), 1));
  const texts = [...whole.choices, ...more.choices].map(({ text }) => text);
  const checkOne = async (prompt: string, text: string): Promise<void> => {
    const points = [...text];
    if (points.length < 3) return;
    const start = random.below(points.length - 1);
    const stop = points.slice(start, start + 1 + random.below(6)).join('');
    const body = { ...wild(prompt, 1), stop };
    const [streamed, unstreamed] = await Promise.all([server.stream(body), server.choice(body)]);
    assert.equal(unstreamed.text, text.slice(0, text.indexOf(stop)), JSON.stringify({ text, stop }));
    assert.equal(unstreamed.finish_reason, 'stop');
    assert.equal(joinText(streamed), unstreamed.text);
  };
  const queue = prompts.entries();
  const worker = async () => {
    for (const [index, prompt] of queue) await checkOne(prompt, texts[index] ?? '');
  };
  await Promise.all(Array.from({ length: 16 }, worker));
});
