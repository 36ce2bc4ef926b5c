/** Scatter plots whose points a page's script can find: hovering one shows it in every plot and table. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { escapeHtml } from './page.js';

export type ScatterItem = {
  /** The same in every plot and table of a page; letters and digits. */
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly color: string;
  /** Shown as it is hovered. */
  readonly title: string;
  /** For filters: what the item is, by kind, such as `{ recipe: 'w4a8' }`. */
  readonly tags: Readonly<Record<string, string>>;
};

/** Colours that are told apart on light and dark paper, in order; more groups than that share the last. */
export const palette: readonly string[] = [
  ...['#4269d0', '#c98500', '#e34a5b', '#2a9d8f', '#3ca951', '#d45087'],
  ...['#a463f2', '#5d9bd5', '#9c6b4e', '#7f8790'],
];

/** A logarithmic range around positive values, and below it where zero is drawn. */
function range(values: readonly number[]): { readonly least: number; readonly domain: [number, number] } {
  const positive = values.filter((value) => value > 0);
  const [low, high] = positive.length === 0 ? [1e-7, 1] : [Math.min(...positive), Math.max(...positive)];
  const least = positive.length === values.length ? low : low / 3;
  return { least, domain: [least / 1.3, high * 1.3] };
}

/** Both axes logarithmic; zero is drawn at the lower end. */
export function drawScatter(items: readonly ScatterItem[], labels: { readonly x: string; readonly y: string }): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const [xs, ys] = [range(items.map(({ x }) => x)), range(items.map(({ y }) => y))];
  const placed = items.map((item) => ({ ...item, x: Math.max(item.x, xs.least), y: Math.max(item.y, ys.least) }));
  const axis = { type: 'log', grid: true, tickFormat: '~g', ticks: 5 } as const;
  const plot = Plot.plot({
    ...{ width: 560, height: 380, marginTop: 30, marginLeft: 64, marginRight: 20, marginBottom: 44, document },
    style: { background: 'none', fontSize: '12px' },
    x: { ...axis, label: labels.x, domain: xs.domain },
    y: { ...axis, label: labels.y, domain: ys.domain },
    marks: [Plot.dot(placed, { x: 'x', y: 'y', r: 4, fill: (item: ScatterItem) => item.color, fillOpacity: 0.75 })],
  });
  // Dots are drawn in the order of the data.
  for (const [i, dot] of [...plot.querySelectorAll('[aria-label="dot"] circle')].entries()) {
    const item = items[i];
    if (item === undefined) continue;
    dot.setAttribute('data-item', item.id);
    dot.setAttribute('data-title', item.title);
    for (const [name, value] of Object.entries(item.tags)) dot.setAttribute(`data-${name}`, value);
  }
  // Names of groups of marks mean nothing to a listener; the figure has its caption.
  for (const group of plot.querySelectorAll('g[aria-label]')) group.removeAttribute('aria-label');
  return plot.outerHTML;
}

export type FilterValue = { readonly value: string; readonly color?: string };

/** Boxes that show or hide whatever bears a tag; with their colours they are the legend as well. */
export function renderFilter(tag: string, title: string, values: readonly FilterValue[]): string {
  const boxes = values.map(({ value, color }) => {
    const text = escapeHtml(value);
    const swatch = color === undefined ? '' : `<span class="swatch" style="background:${escapeHtml(color)}"></span>`;
    return `<label><input type="checkbox" checked data-filter="${tag}" value="${text}"> ${swatch}${text}</label>`;
  });
  return `<fieldset><legend>${escapeHtml(title)}</legend>${boxes.join(' ')}</fieldset>`;
}
