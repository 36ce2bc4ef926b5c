// The parts of `nibble poc` that need no model: prompts from files, sums, judgements, and what its report holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figuresOf, spreadSample } from '../../src/cli/poc/measure.js';
import { type Prompt, parsePrompts, type ReadyPrompt, readyPrompts } from '../../src/cli/poc/prompts.js';
import { compareTexts, forcedSequences, matchAnswers } from '../../src/cli/poc/quality.js';
import { type Judged, recommend } from '../../src/cli/poc/recommend.js';
import type { Answer, Run } from '../../src/cli/poc/replay.js';
import { renderPocPage } from '../../src/cli/poc/report.js';
import type { Poc, PocModel } from '../../src/cli/poc/result.js';
import { examples } from '../../src/cli/tco/examples.js';
import { withSimulated } from '../../src/cost/tco/accelerated.js';
import { analyze } from '../../src/cost/tco/analysis.js';
import { NibbleError } from '../../src/errors.js';
import type { Tokenizer } from '../../src/model/types.js';

test('prompts, conversations, answers, stops; what else a line holds is left alone', () => {
  const lines = [
    { prompt: 'One', answer: 'yes', id: 7 },
    { messages: [{ role: 'user', content: '' }], max_tokens: 5, stop: ['a', 'b'], answer: ['x', 'y'] },
    { prompt: 'Three', stop: 'c', max_tokens: null },
  ];
  const text = `\n${lines.map((line) => JSON.stringify(line)).join('\r\n\n')}\n`;
  assert.deepEqual(parsePrompts(text, 'f'), [
    { line: 2, input: 'One', maxTokens: null, stop: [], answers: ['yes'] },
    { line: 4, input: [{ role: 'user', content: '' }], maxTokens: 5, stop: ['a', 'b'], answers: ['x', 'y'] },
    { line: 6, input: 'Three', maxTokens: null, stop: ['c'], answers: [] },
  ]);
});

test('hostile lines are refused by their number, without a word of what they hold', () => {
  const secret = 'SECRET';
  const bad: readonly unknown[] = [
    [secret],
    secret,
    null,
    { prompt: 7, note: secret },
    { prompt: '' },
    { prompt: secret, messages: [] },
    { messages: [] },
    { messages: { length: 1, 0: secret } },
    { messages: [null] },
    { messages: [{ role: secret, content: [secret] }] },
    { prompt: secret, max_tokens: 0 },
    { prompt: secret, max_tokens: 1.5 },
    { prompt: secret, max_tokens: '9' },
    { prompt: secret, stop: [''] },
    { prompt: secret, stop: ['a', 'b', 'c', 'd', 'e'] },
    { prompt: secret, stop: 'x'.repeat(257) },
    { prompt: secret, answer: 5 },
    {},
  ];
  const texts = [...bad.map((line) => JSON.stringify(line)), `{"prompt": "${secret}`, '['.repeat(100_000), '\u0000'];
  for (const line of texts) {
    assert.throws(
      () => parsePrompts(`{"prompt": "fine"}\n${line}`, 'file'),
      (error) =>
        error instanceof NibbleError &&
        error.code === 'data_invalid' &&
        error.message.startsWith('file, line 2: ') &&
        !error.message.includes(secret),
      line.slice(0, 50),
    );
  }
  assert.throws(() => parsePrompts('\n\n', 'file'), { code: 'data_invalid' });
  assert.throws(() => parsePrompts('{"prompt":"a"}\n'.repeat(10_001), 'file'), { code: 'data_invalid' });
});

/** A token for each character. */
const tokenizer = {
  encode: (text: string) => Int32Array.from(text, (character) => character.codePointAt(0) ?? 0),
} as Pick<Tokenizer, 'encode'> as Tokenizer;
const prompt = (input: string, maxTokens: number | null = null): Prompt => {
  return { line: 3, input, maxTokens, stop: [], answers: [] };
};

test('a prompt and its answer must fit the context; a conversation needs a template', async () => {
  const limits = { path: 'file', tokensMax: 4, contextTokens: 10 };
  const ready = (one: Prompt) => readyPrompts([one], { tokenizer, chatTemplate: null }, limits);
  const [fits] = await ready(prompt('123456'));
  assert.deepEqual([fits?.ids.length, fits?.tokensMax], [6, 4]);
  assert.equal((await ready(prompt('12345678', 2)))[0]?.tokensMax, 2);
  await assert.rejects(ready(prompt('1234567')), { code: 'data_invalid' });
  await assert.rejects(ready(prompt('1', 10)), { code: 'data_invalid' });
  await assert.rejects(ready({ ...prompt(''), input: [] }), { code: 'chat_template_missing' });
});

const answer = (text: string, tokenIds: readonly number[], changes: Partial<Answer> = {}): Answer => {
  return { text, tokenIds, promptTokens: 10, firstTokenMs: 100, betweenMs: 20, ...changes };
};
const ready = (ids: readonly number[], answers: readonly string[] = []): ReadyPrompt => {
  return { ...prompt('x'), ids: Int32Array.from(ids), tokensMax: 8, answers };
};

test('what every model reads: prompt and answer, scored from the first token of the answer on', () => {
  const sequences = forcedSequences([ready([1, 2, 3]), ready([4])], [answer('ab', [7, 8]), answer('', [])]);
  assert.deepEqual(sequences, [{ tokens: Int32Array.of(1, 2, 3, 7, 8), firstRow: 2, promptTokens: 3 }]);
  // A whole window that may be pruned: its last row can't begin a step.
  const [window] = forcedSequences([ready(new Array(256).fill(1))], [answer('a', [7])]);
  assert.equal(window?.firstRow, 256);
});

test('same answers are the same to their end', () => {
  const theirs = [answer('', [1, 2]), answer('', [1, 2]), answer('', [1, 2]), answer('', [])];
  const ours = [answer('', [1, 2]), answer('', [1, 2, 3]), answer('', [1]), answer('', [])];
  assert.deepEqual(compareTexts(ours, theirs), { sameAnswers: 0.5 });
});

test('answers that are known: right, lost, gained', () => {
  const prompts = [ready([1], ['yes', 'Yes']), ready([1], ['no']), ready([1], ['maybe']), ready([1])];
  const theirs = [answer(' yes\n', []), answer('no', []), answer('perhaps', []), answer('?', [])];
  const ours = [answer('Yes', []), answer('No', []), answer('maybe', []), answer('!', [])];
  assert.deepEqual(matchAnswers(prompts, ours, theirs), { prompts: 3, right: 2, lost: 1, gained: 1 });
  assert.equal(matchAnswers([ready([1])], [answer('a', [])], [answer('a', [])]), null);
});

test('figures for the plan: prompts at their own rate, answers in the rest of the time, energy by phase', () => {
  const energy = { source: 'tdp' as const, meter: 'm', prefillJoules: 30, decodeJoules: 60 };
  const alone: Run[] = [
    { answers: [answer('', [1]), answer('', [1], { promptTokens: 30 })], seconds: 1, energy: null },
  ];
  const together: Run[] = [
    { answers: [answer('', [1, 2, 3], { promptTokens: 100 })], seconds: 1, energy },
    { answers: [answer('', [1, 2], { promptTokens: 60 })], seconds: 1.5, energy },
  ];
  // Alone 40 tokens in 0.2 s: 200/s. The 160 tokens took 0.8 s, which leaves 1.7 s to 5 tokens.
  const figures = figuresOf('w4a8', 4, alone, together);
  assert.deepEqual(
    [figures.name, figures.source, figures.streams, figures.prefillTokensPerS],
    ['w4a8', 'measured', 4, 200],
  );
  assert.ok(Math.abs(figures.decodeTokensPerS - 5 / 1.7) < 1e-9);
  assert.ok(Math.abs(figures.joulesPerPromptToken - 60 / 160) < 1e-12);
  assert.ok(Math.abs(figures.joulesPerOutputToken - 120 / 5) < 1e-12);
});

test('a sample is spread over the list', () => {
  assert.deepEqual(spreadSample([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4), [0, 2, 5, 7]);
  assert.deepEqual(spreadSample([1, 2], 20), [1, 2]);
});

const judged = (name: string, changes: Partial<Judged> = {}): Judged => ({
  ...{ name, isBaseline: name === 'base', requestsPerS: 1, joulesPerRequest: 10, exactMatch: null },
  agreement: name === 'base' ? null : { klMean: 0.01, sameTop: 0.95 },
  plan: { perMonth: 100, misses: [] },
  ...changes,
});
const base = judged('base');
const terms = { klMax: 0.05, cheapest: 'box / a', box: 'box' };
const chosen = (...models: readonly Judged[]) => recommend([base, ...models], terms).name;
const costing = (perMonth: number) => ({ plan: { perMonth, misses: [] } });

test('recommended is what costs least, and of those that cost the same the fastest', () => {
  assert.equal(chosen(judged('a', costing(90)), judged('b', { ...costing(80), requestsPerS: 0.5 })), 'b');
  assert.equal(chosen(judged('a', { requestsPerS: 3 }), judged('b', { ...costing(99.5), requestsPerS: 2 })), 'a');
  assert.equal(chosen(judged('a', { requestsPerS: 0.9 })), 'base');
  // As fast, within what measurements are worth: the nearer one.
  const near = { klMean: 0.002, sameTop: 0.98 };
  assert.equal(chosen(judged('a', { requestsPerS: 3 }), judged('b', { requestsPerS: 2.9, agreement: near })), 'b');
  assert.equal(chosen(judged('a', { requestsPerS: 3 }), judged('b', { requestsPerS: 2.8, agreement: near })), 'a');
  assert.equal(chosen(judged('a', { requestsPerS: 1.04 })), 'base');
});

test('what is too far away, too late or loses answers is not recommended, and the reason is said', () => {
  const far = judged('far', { ...costing(10), agreement: { klMean: 0.051, sameTop: 0.9 } });
  const broken = judged('broken', { ...costing(10), agreement: { klMean: Number.NaN, sameTop: 0 } });
  const late = judged('late', { plan: { perMonth: 10, misses: ['ttft'] } });
  const match = { prompts: 100, right: 80, lost: 10, gained: 2 };
  // 8 more lost than gained, where two standard errors of chance are 2·√12 = 6.9.
  const forgetful = judged('forgetful', { ...costing(10), exactMatch: match });
  const result = recommend([base, far, broken, late, forgetful], terms);
  assert.equal(result.name, 'base');
  const objections = result.verdicts.map(({ objections: found }) => found.join());
  assert.equal(objections[0], '');
  for (const [i, words] of [/mean KL 0.0510/, /mean KL NaN/, /first token/, /loses 10 right answers/].entries()) {
    assert.match(objections[i + 1] ?? '', words);
  }
  // One fewer lost: chance may do that.
  const lucky = judged('lucky', { ...costing(10), exactMatch: { ...match, lost: 8 } });
  assert.equal(chosen(lucky), 'lucky');
});

test('reasons compare with the baseline, and an option elsewhere that costs less is named', () => {
  const fast = judged('fast', { requestsPerS: 2.5, joulesPerRequest: 4, plan: { perMonth: 50, misses: [] } });
  const { reasons } = recommend([base, fast], { ...terms, cheapest: 'Cloud API' });
  const text = reasons.join('; ');
  for (const words of [
    /2\.50 × as many requests/,
    /0\.40 × the energy/,
    /95\.0 %/,
    /0\.50 × what it costs/,
    /Cloud API costs least$/,
  ]) {
    assert.match(text, words);
  }
  assert.deepEqual(recommend([{ ...base, plan: { perMonth: 1, misses: ['itl'] } }], terms).name, null);
});

const agreement = {
  ...{ klMean: 0.02, klError: 0.001, klP99: 0.2, sameTop: 0.94, ratio: 1.01, ratioError: 0.002 },
  reference: { perplexity: 10, standardError: 1, tokens: 50 },
  candidate: { perplexity: 10.1, standardError: 1, tokens: 50 },
};

function pocOf(secret: string): Poc {
  const scenario = withSimulated(examples['small-factory'] ?? assert.fail());
  const model = (name: string): PocModel => ({
    ...{ name, isBaseline: name === 'base', file: '/models/a.gguf', fileBytes: 1e8, exactMatch: null },
    measured: {
      answers: [answer(`${secret} answered by ${name}`, [1, 2])],
      ...{ ttftMs: { p50: 100, p95: 200 }, itlMs: { p50: 10, p95: 20 }, requestsPerS: 2, outputTokensPerS: 50 },
      ...{ joulesPerRequest: 3, energy: null },
      figures: figuresOf(name, 1, [], []),
    },
    quality: name === 'base' ? null : { agreement, texts: { sameAnswers: 0.5 } },
    pricePerThousand: { energy: 0.1, hardware: 0.2, carbonGrams: 5 },
  });
  return {
    machine: { cpu: 'x', isa: 'avx2', threads: 2, cores: 2 },
    ...{ commit: 'c0ffee', date: '2026-01-01', command: 'nibble poc', streams: 4, klMax: 0.05, energy: null },
    data: { path: 'own.jsonl', sha256: '0'.repeat(64) },
    prompts: [{ ...ready([1]), input: [{ role: 'user', content: `${secret} <b>asked</b>` }] }],
    models: [model('base'), model('w4a8')],
    recommendation: recommend([base, judged('w4a8')], terms),
    ...{ plan: { scenario, analysis: analyze(scenario, 5, 1) }, isOwnScenario: false },
  };
}

test('prompts and answers are in the report only if they are asked for, and stay text', () => {
  const secret = 'Q7-SECRET';
  const without = renderPocPage(pocOf(secret), false);
  assert.ok(!without.includes(secret));
  const withThem = renderPocPage(pocOf(secret), true);
  for (const text of [`user: ${secret} &#60;b&#62;asked`, `${secret} answered by w4a8`])
    assert.ok(withThem.includes(text));
  assert.doesNotMatch(withThem.replaceAll('http://www.w3.org/', ''), /https?:|<b>|@import|url\(/);
});
