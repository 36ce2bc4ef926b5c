/** The report of an exploration in a real browser: its plots are linked, filtered, and readable everywhere. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderExploration } from '../../src/cli/explore/report.js';
import { needsBrowser, openBrowser } from '../support/browser.js';
import { exploration } from '../support/exploration.js';
import { openReport } from '../support/report-page.js';

test('designs light up together, are filtered and sorted; nothing is asked of the network', needsBrowser, async () => {
  const browser = await openBrowser();
  try {
    const seen = await openReport(browser, renderExploration(exploration()));
    assert.deepEqual([seen.requests, seen.errors, seen.findings], [[], [], []]);
    assert.ok(seen.plots.length === 4 && seen.plots.every(({ width, height, marks }) => width * height * marks > 1e6));
    assert.equal(seen.paper.print, 'rgb(255, 255, 255)');
    assert.notEqual(seen.paper.dark, seen.paper.light);
    assert.ok(Object.values(seen.contrast).every((ratio) => ratio > 7));
    const { page } = seen;
    await page.emulateMedia({ media: 'screen' });
    const count = (selector: string) => page.locator(selector).count();
    await page.focus('tr[data-item="d3"]');
    assert.equal(await count('[data-item="d3"].on'), 5);
    assert.equal(await count('.on'), 5);
    assert.match((await page.textContent('.tip')) ?? '', /element: w4a8\nrecipe: w4a8/);
    await page.hover('svg circle[data-item="d4"] >> nth=0');
    assert.equal(await count('[data-item="d4"].on'), 5);
    await page.uncheck('input[data-filter="element"][value="w4a8"]');
    assert.deepEqual([await count('circle.off'), await count('tr.off')], [8, 2]);
    assert.equal(await page.isVisible('tr[data-item="d4"]'), false);
    await page.check('input[data-filter="element"][value="w4a8"]');
    assert.equal(await count('.off'), 0);
    const order = () =>
      page.$$eval('table.sorted tbody tr', (rows) => rows.map((row) => row.getAttribute('data-item')));
    await page.click('table.sorted th:nth-child(9) button');
    assert.deepEqual(await order(), ['d4', 'd3', 'd2', 'd1'], 'by area');
    await page.click('table.sorted th:nth-child(7) button');
    assert.deepEqual(await order(), ['d1', 'd2', 'd3', 'd4'], 'by seconds');
  } finally {
    await browser.close();
  }
});
