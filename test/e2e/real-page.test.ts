/**
 * The page at `/` (as compiled: npm run build:ts) in a browser, against a server with two models. NIBBLE_UPDATE_DOCS=1
 * renews its pictures in docs.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { needsBrowser, openBrowser, openPage, seriousFindings } from '../support/browser.js';
import { defaultModelPath } from '../support/default-model.js';
import { root } from '../support/imports.js';
import { RealServer } from '../support/real-server.js';

const pageBytesMax = 150_000;

const folder = mkdtempSync(join(tmpdir(), 'nibble-page-'));
const prices = join(folder, 'prices.json');

let server: RealServer;
let browser: Browser;
let page: Page;
let errors: string[];
before(async () => {
  if (needsBrowser.skip !== undefined) return;
  const file = await defaultModelPath();
  // A joule is a euro.
  writeFileSync(prices, JSON.stringify({ currency: 'EUR', tariffPerKwh: 3.6e6 }));
  const flags = ['--models', `first=${file},second=${file}`, '--kv-tokens', '8192', '--core-watts', '7'];
  flags.push('--energy-meter', 'tdp', '--prices', prices);
  [server, browser] = await Promise.all([RealServer.start({ flags }), openBrowser()]);
  ({ page, errors } = await openPage(browser));
  page.setDefaultTimeout(60_000);
  await page.setViewportSize({ width: 1000, height: 720 });
  await page.goto(server.url);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(folder, { recursive: true });
});

async function picture(name: string): Promise<void> {
  if (process.env.NIBBLE_UPDATE_DOCS !== '1') return;
  mkdirSync(join(root, 'docs/images'), { recursive: true });
  await page.screenshot({ path: join(root, `docs/images/${name}.png`) });
}

/** Fills in a field by its label, as people find it. */
const fill = (label: string, text: string) => page.getByLabel(label).fill(text);
const press = (name: string) => page.getByRole('button', { name, exact: true }).click();
const go = (name: string) => page.getByRole('link', { name, exact: true }).click();
const status = (pattern: RegExp) => page.getByRole('status').filter({ hasText: pattern }).waitFor();

async function assertAccessible(): Promise<void> {
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await seriousFindings(page), [], colorScheme);
  }
}

test('it is small, and whole', needsBrowser, () => {
  const text = readFileSync(join(root, 'dist/page.html'), 'utf8');
  assert.ok(Buffer.byteLength(text) < pageBytesMax, `${Buffer.byteLength(text)} bytes`);
  assert.doesNotMatch(text, /<(script|link|img)[^>]+(src|href)="(?!data:)/, 'nothing else is fetched');
});

test('a continuation: text, probabilities of each token, tokens and energy', needsBrowser, async () => {
  await page.getByLabel('Completion').check();
  await fill('Temperature', '0');
  await fill('Tokens at most', '8');
  await fill('Text to continue', 'The capital of France is');
  await press('Continue');
  await status(/^Done \(length\) · 5 \+ 8 tokens .* J \(estimated\) · [\d.]+ EUR$/);
  const told = (await page.getByRole('status').textContent()) ?? '';
  const [, joules, euros] = /· ([\d.]+) J .* · ([\d.]+) EUR$/.exec(told) ?? [];
  assert.ok(Math.abs(Number(joules) - Number(euros)) < 0.02 * Number(joules), told);
  const choice = await server.choice({
    prompt: 'The capital of France is',
    max_tokens: 8,
    temperature: 0,
    logprobs: 5,
  });
  const answer = page.getByRole('region', { name: 'Answer' });
  assert.equal(await answer.locator('.answer').textContent(), choice.text);
  const share = (100 * Math.exp(choice.logprobs?.token_logprobs[0] ?? 0)).toFixed(1);
  await answer.locator('.answer span').first().hover();
  assert.match((await answer.locator('caption').textContent()) ?? '', new RegExp(`^␣Paris ${share} %$`));
  await answer.locator('.answer span').nth(1).hover();
  assert.match((await answer.locator('caption').textContent()) ?? '', /^\. \d/);
  // The same with the keyboard alone.
  await page.getByRole('slider').press('Home');
  assert.match((await answer.locator('caption').textContent()) ?? '', /^␣Paris /);
  await assertAccessible();
});

test('a conversation goes on with what was said before', needsBrowser, async () => {
  await page.getByLabel('Chat').check();
  await fill('Tokens at most', '24');
  for (const text of ['My name is Ada.', 'What is my name?']) {
    await fill('Your message', text);
    await page.getByLabel('Your message').press('Control+Enter');
    await page.getByRole('list', { name: 'Conversation' }).getByText(text).waitFor();
    await status(/^Done/);
  }
  assert.equal(await page.locator('.messages li').count(), 3);
  await picture('page-playground');
});

test('stop ends the answer, and the work for it', needsBrowser, async () => {
  await press('Clear');
  await page.getByLabel('Completion').check();
  await fill('Tokens at most', '4000');
  await fill('Text to continue', 'Once upon a time');
  await press('Continue');
  await page.locator('.answer span').nth(20).waitFor();
  await press('Stop');
  await status(/^Stopped/);
  await server.becomeIdle();
  assert.ok((await page.locator('.answer span').count()) < 4000);
});

test('two recipes side by side, one after the other', needsBrowser, async () => {
  await go('Compare');
  await fill('Tokens at most', '16');
  await press('Compare');
  await status(/^Compared$/);
  const [first, second] = ['first', 'second'].map((id) => page.getByRole('region', { name: `Answer of ${id}` }));
  assert.ok(first && second);
  // The same file twice gives the same bits.
  await second.getByText('the same text as the first').waitFor();
  assert.equal(await first.locator('.answer').textContent(), await second.locator('.answer').textContent());
  for (const answer of [first, second]) await answer.getByText(/tokens\/s/).waitFor();
  await picture('page-compare');
  await assertAccessible();
});

test('the dashboard follows the work', needsBrowser, async () => {
  await go('Dashboard');
  const card = (name: string) => page.getByRole('region', { name, exact: true });
  await card('Queue').getByText('0 running, 0 waiting').waitFor();
  const abort = new AbortController();
  const long = { prompt: 'Once', max_tokens: 4000, ignore_eos: true, stream: true };
  const working = await server.post(long, abort.signal);
  await card('Queue').getByText('1 running, 0 waiting').waitFor();
  await card('Answers')
    .getByText(/^[1-9]\d* tokens\/s$/)
    .waitFor();
  await page.getByRole('row', { name: /^first 1 0/ }).waitFor();
  await picture('page-dashboard');
  await assertAccessible();
  abort.abort();
  await assert.rejects(working.text());
});

test('nothing was complained of in the console', needsBrowser, () => {
  assert.deepEqual(errors, []);
});
