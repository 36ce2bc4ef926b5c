// A plan's report in a real browser: what it draws, and that it asks nobody for anything.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { examples } from '../../src/cli/tco/examples.js';
import { renderTcoPage } from '../../src/cli/tco/report.js';
import { withSimulated } from '../../src/cost/tco/accelerated.js';
import { analyze } from '../../src/cost/tco/analysis.js';
import { needsBrowser, openBrowser } from '../support/browser.js';
import { openReport } from '../support/report-page.js';

let browser: Browser | undefined;
before(async () => {
  if (needsBrowser.skip === undefined) browser = await openBrowser();
});
after(() => browser?.close());

const hostile = '<script>window.wasRun = 1</script>';
const origin = { date: '2026-01-01', commit: 'c0ffee', command: `nibble tco --scenario "${hostile}"` };

test('plots, words and nothing from outside, in light, in the dark and on paper', needsBrowser, async () => {
  assert.ok(browser);
  const scenario = { ...withSimulated(examples['kiosk-fleet'] ?? assert.fail()), name: `Fleet ${hostile}` };
  const html = renderTcoPage({ scenario, analysis: analyze(scenario, 200, 1) }, origin);
  const seen = await openReport(browser, html);
  // The parts and their names, what was paid, the tornado, what the draws saved.
  assert.equal(seen.plots.length, 5);
  for (const { width, height, marks } of seen.plots) assert.ok(width > 100 && height > 20 && marks > 5);
  assert.deepEqual([seen.requests, seen.errors, seen.findings], [[], [], []]);
  assert.equal(await seen.page.evaluate('window.wasRun'), undefined);
  assert.match(await seen.page.title(), /<script>/);
  assert.ok(seen.contrast.light > 7 && seen.contrast.dark > 7 && seen.contrast.print > 7);
  assert.notEqual(seen.paper.dark, seen.paper.light);
  assert.equal(seen.paper.print, 'rgb(255, 255, 255)');
  assert.equal(seen.tooWide, 0);
});
