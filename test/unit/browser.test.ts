/** The browser that other tests use: it must see what they are to find. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { needsBrowser, openBrowser, openPage, seriousFindings } from '../support/browser.js';

let browser: Browser | undefined;
before(async () => {
  if (needsBrowser.skip === undefined) browser = await openBrowser();
});
after(() => browser?.close());

test('a bad page: its exception is reported, and its image without words', needsBrowser, async () => {
  assert.ok(browser);
  const { page, errors } = await openPage(browser);
  const image = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">';
  await page.setContent(`<html lang="en"><title>t</title><main><h1>h</h1>${image}</main></html>`);
  await page.evaluate('void setTimeout(() => { throw new Error("lost"); }, 0)');
  const findings = await seriousFindings(page);
  assert.deepEqual(errors, ['Error: lost']);
  assert.equal(findings.length, 1);
  assert.match(findings[0] ?? '', /^image-alt: <img/);
});
