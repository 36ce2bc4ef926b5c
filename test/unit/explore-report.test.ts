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

test('published accelerators stand beside them, with what a watt and a mm² yield', () => {
  const found = exploration();
  const { document } = parseHTML(
    renderExploration({
      ...found,
      known: found.known.map((one) => ({ ...one, evaluation: { ...one.evaluation, macs: 6e12 } })),
    }),
  );
  const row = [...document.querySelectorAll('tr')].find((one) => one.textContent?.startsWith('INT8 array'));
  assert.deepEqual(
    [...(row?.querySelectorAll('td') ?? [])].map((cell) => cell.textContent),
    // 6e12 in 2 s, 10 J and 3 mm².
    ['INT8 array', '8/8', '2.00', '10.0', '3.00', '600', '1000', '10 %', '20 %', '30 %', '40 %'],
  );
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
  assert.match(heads, /^element,recipe,rows,columns,.*,seconds,joules,areaMm2,cycles,macJoules,.*,klMean$/);
  // 1000 multiply-accumulates in 6 s, 7⅓ J and 1 mm².
  assert.equal(rows[2], 'w4a8,w4a8,8,16,32,64,16,8,500,6,7.33333,1,100,1,2,3,1.33333,136.364,166.667,0.02');
  assert.equal(rows.length, 4);
});
