import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseHTML } from 'linkedom';
import { renderReport } from '../../src/cli/eval/compare/report.js';
import type { Comparison } from '../../src/cli/eval/compare/result.js';
import { paretoFront } from '../../src/report/plots.js';

const scored = { perplexity: 15, standardError: 0.2, tokens: 1000 };
const spread = { median: 100, min: 90, max: 110 };

function comparison(names: readonly string[]): Comparison {
  return {
    machine: { cpu: 'a <fast> one', isa: 'avx2', threads: 2, cores: 2 },
    commit: 'c0ffee',
    date: '2026-01-01T00:00:00.000Z',
    command: 'nibble eval compare --data "a&b"',
    data: { path: '</dd><script>alert(1)</script>', sha256: '0'.repeat(64) },
    ...{ windowTokens: 512, windows: 4, protocol: 'full' as const, rounds: 3, energy: null },
    reference: { name: 'float', fileBytes: 4e8, quality: null, speed: null, perplexity: 14.5, standardError: 0.2 },
    candidates: names.map((name, i) => ({
      name,
      fileBytes: 1e8 + i * 1e7,
      speed: { prefill512: spread, prefill2048: null, decode: { ...spread, median: 100 + i }, joulesPerToken: 0.25 },
      quality: {
        agreement: {
          ...{ klMean: i / 50, klError: 0.001, klP99: 0.3, sameTop: 0.9, ratio: 1 + i / 100, ratioError: 0.002 },
          ...{ reference: scored, candidate: scored },
        },
        greedyTokens: { median: 12, min: 3 },
        layerErrors: [0.01, 0.02, 0.05],
        packedBytes: 1e8,
      },
    })),
  };
}

const parse = (html: string) => parseHTML(html).document;
/** What is written in a plot, without the hints that appear over it. */
const TEXT_NODE = 3;
type Parsed = ReturnType<typeof parse>['documentElement'];
const namesIn = (plot: Parsed) =>
  [...plot.querySelectorAll('text')].map((text) => {
    const parts = [...text.childNodes].filter(({ nodeType }) => nodeType === TEXT_NODE);
    return parts.map(({ textContent }) => textContent).join('');
  });
const texts = (nodes: Iterable<{ readonly textContent: string | null }>) => [...nodes].map((node) => node.textContent);

test('a page has a row per model, and each name in every plot', () => {
  const document = parse(renderReport(comparison(['w4a8', 'agile', 'w8a8'])));
  const rows = [...document.querySelectorAll('tbody tr')];
  assert.deepEqual(
    rows.map((row) => row.querySelector('td')?.textContent),
    ['float', 'w4a8', 'agile', 'w8a8'],
  );
  const plots = [...document.querySelectorAll('svg')];
  // Size, two speeds (none has a prefill of 2048), ratios, layers.
  assert.equal(plots.length, 5);
  for (const plot of plots) {
    for (const name of ['w4a8', 'agile', 'w8a8']) assert.ok(namesIn(plot).includes(name), name);
  }
  assert.equal(document.querySelectorAll('svg [aria-label="rect"] rect').length, 9, 'three layers of three models');
});

test('whatever a name or a path holds stays text', () => {
  const name = `<img src=x onerror=alert(1)>"'&`;
  const html = renderReport(comparison([name, 'plain']));
  const document = parse(html);
  assert.equal(document.querySelectorAll('img, script, link, iframe').length, 0);
  assert.ok(texts(document.querySelectorAll('td')).includes(name));
  assert.ok(namesIn(document.documentElement).includes(name));
  assert.ok(texts(document.querySelectorAll('dd')).some((text) => text?.includes('</dd><script>')));
});

test('a page needs nothing from outside', () => {
  const html = renderReport(comparison(['a']));
  assert.doesNotMatch(html.replaceAll('http://www.w3.org/', ''), /https?:|@import|url\(/);
});

test('many models are numbered in the plots and in the table', () => {
  const names = Array.from({ length: 12 }, (_, i) => `recipe-${i}`);
  const document = parse(renderReport(comparison(names)));
  assert.ok(texts(document.querySelectorAll('td')).includes('12. recipe-11'));
  const [first] = document.querySelectorAll('svg');
  assert.ok(first !== undefined && namesIn(first).includes('12'));
});

test('the front holds what no other point beats', () => {
  const at = (x: number, y: number) => ({ x, y });
  const points = [at(4, 1), at(1, 4), at(2, 4), at(2, 2), at(3, 3)];
  assert.deepEqual(paretoFront(points, 'less'), [at(1, 4), at(2, 2), at(4, 1)]);
  // More of x is better: the point furthest to the right has the least error too.
  assert.deepEqual(paretoFront(points, 'more'), [at(4, 1)]);
});
