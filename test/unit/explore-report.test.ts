import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parseHTML } from 'linkedom';
import { describeCsv } from '../../src/cli/explore/present.js';
import { renderExploration } from '../../src/cli/explore/report.js';
import { exploration } from '../support/exploration.js';

test('a design is a dot in every plot and a row of the table, with what it is', () => {
  const { document } = parseHTML(renderExploration(exploration()));
  assert.equal(document.querySelectorAll('svg').length, 4);
  for (const [i, { id, choice }] of exploration().front.entries()) {
    const found = [...document.querySelectorAll(`[data-item="${id}"]`)];
    assert.deepEqual(
      found.map(({ tagName }) => tagName.toLowerCase()),
      ['circle', 'circle', 'circle', 'circle', 'tr'],
    );
    for (const one of found) {
      assert.equal(one.getAttribute('data-element'), choice.element);
      assert.equal(one.getAttribute('data-recipe'), choice.recipe);
    }
    assert.match(found[0]?.getAttribute('data-title') ?? '', new RegExp(`recipe: ${choice.recipe}\n`));
    assert.equal(found[4]?.querySelectorAll('td')[6]?.textContent, [2, 4, 6, 20][i]?.toPrecision(3), 'seconds');
  }
});

test('an error of zero has its place on a logarithmic axis', () => {
  const { document } = parseHTML(renderExploration(exploration()));
  const heights = [...document.querySelectorAll('svg')].map((svg) => {
    return ['d1', 'd2'].map((id) => Number(svg.querySelector(`[data-item="${id}"]`)?.getAttribute('cy')));
  });
  // Plots 1 and 3 show errors: the design without one lies lower on the page.
  for (const [none = 0, some = 0] of [heights[1] ?? [], heights[3] ?? []]) assert.ok(none > some && none < 380);
});

test('texts from outside stay texts, and the one script is the one that the page allows', () => {
  const html = renderExploration(exploration('</dd><script>alert(1)</script>'));
  const { document } = parseHTML(html);
  const scripts = [...document.querySelectorAll('script')];
  assert.equal(scripts.length, 1);
  const hash = createHash('sha256')
    .update(scripts[0]?.textContent ?? '')
    .digest('base64');
  const policy = document.querySelector('meta[http-equiv="Content-Security-Policy"]')?.getAttribute('content') ?? '';
  assert.ok(policy.includes(`script-src 'sha256-${hash}'`), policy);
  assert.doesNotMatch(html.replaceAll('http://www.w3.org/', ''), /https?:|@import|url\(/);
});

test('the front as CSV has a row for each design', () => {
  const [heads = '', ...rows] = describeCsv(exploration()).trimEnd().split('\r\n');
  assert.match(heads, /^element,recipe,rows,columns,.*,seconds,joules,areaMm2,klMean$/);
  assert.equal(rows[2], 'w4a8,w4a8,8,16,32,64,16,8,500,6,7.33333,1,0.02');
  assert.equal(rows.length, 4);
});
