/** Plots as SVG texts, drawn without a browser: they take the page's colours and need no script. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

/** A point of a Pareto plot: less error is better, and less or more of x. */
export type ParetoPoint = { readonly label: string; readonly title: string; readonly x: number; readonly y: number };

/** Points that no other beats: none has at most their error and a better x, or less error and at least as good an x. */
export function paretoFront<T extends { readonly x: number; readonly y: number }>(
  points: readonly T[],
  better: 'less' | 'more',
): T[] {
  const sign = better === 'less' ? 1 : -1;
  const ordered = [...points].sort((a, b) => sign * (a.x - b.x) || a.y - b.y);
  let least = Number.POSITIVE_INFINITY;
  return ordered.filter(({ y }) => {
    const isOnFront = y < least;
    least = Math.min(least, y);
    return isOnFront;
  });
}

/** Any plot as the text of an SVG. */
export function draw(options: Plot.PlotOptions): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  // A name may be a number: it is still no quantity.
  const color = { type: 'categorical' } as const;
  const plot = Plot.plot({ ...options, color, document, style: { background: 'none', fontSize: '12px' } });
  // Plot labels its groups, which only elements with a role may have.
  for (const group of plot.querySelectorAll('g[aria-label]')) group.setAttribute('role', 'group');
  return plot.outerHTML;
}

/** Zero has no place on a logarithmic axis: it is drawn well below what is more, and so is rounding. */
function leastShown(ys: readonly number[]): number {
  const positive = ys.filter((y) => y > 1e-7);
  return positive.length === 0 ? 1e-7 : Math.min(...positive) / 10;
}

/** A scatter plot with its front as a line: error upwards (logarithmic), `labels.x` to the right. */
export function drawPareto(
  points: readonly ParetoPoint[],
  labels: { readonly x: string; readonly y: string; readonly better: 'less' | 'more' },
): string {
  const least = leastShown(points.map(({ y }) => y));
  const placed = points.map((point) => ({ ...point, y: Math.max(point.y, least) }));
  const front = paretoFront(placed, labels.better);
  const xs = placed.map(({ x }) => x);
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const room = 0.08 * (high - low) || 0.1 * high;
  // Names go where there is room for them: to the right of what is left, and to the left of what is right.
  const named = (isLeft: boolean) => {
    const side = placed.filter(({ x }) => x <= (low + high) / 2 === isLeft);
    const where = { dx: isLeft ? 9 : -9, textAnchor: isLeft ? ('start' as const) : ('end' as const) };
    return Plot.text(side, { x: 'x', y: 'y', text: 'label', title: 'title', dy: -8, ...where });
  };
  return draw({
    ...{ width: 560, height: 340, marginTop: 32, marginLeft: 72, marginRight: 24, marginBottom: 44 },
    x: { label: labels.x, grid: true, domain: [low - room, high + room], ticks: 6 },
    y: { label: labels.y, type: 'log', grid: true, tickFormat: '~g', domain: extend(placed.map(({ y }) => y)) },
    marks: [
      Plot.line(front, { x: 'x', y: 'y', stroke: 'currentColor', strokeOpacity: 0.4, strokeDasharray: '4 3' }),
      Plot.dot(placed, { x: 'x', y: 'y', r: 5, fill: 'label', title: 'title' }),
      named(true),
      named(false),
    ],
  });
}

/** A logarithmic range around values, with room above them for the names. */
const extend = (ys: readonly number[]): [number, number] => [Math.min(...ys) / 1.6, Math.max(...ys) * 2.2];

/** A value with its error. */
export type Interval = { readonly label: string; readonly value: number; readonly error: number };

/** Points with bars of ± one standard error, a line each, in the order given. */
export function drawIntervals(intervals: readonly Interval[], label: string): string {
  const rows = intervals.map((one) => ({ ...one, low: one.value - one.error, high: one.value + one.error }));
  const longest = Math.max(...intervals.map((one) => one.label.length));
  return draw({
    ...{ width: 720, height: 60 + 24 * rows.length, marginLeft: 24 + 7.2 * longest, marginRight: 24, marginBottom: 40 },
    x: { label, grid: true },
    y: { label: null, domain: rows.map((row) => row.label) },
    marks: [
      Plot.ruleX([1], { stroke: 'currentColor', strokeOpacity: 0.5 }),
      Plot.link(rows, { x1: 'low', x2: 'high', y1: 'label', y2: 'label', stroke: 'label', strokeWidth: 2 }),
      Plot.dot(rows, { x: 'value', y: 'label', r: 4, fill: 'label' }),
    ],
  });
}

/** Three digits, or all before the point. */
const valueText = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** A bar for each value, in the order given. */
export function drawBars(rows: readonly { readonly label: string; readonly value: number }[], label: string): string {
  const longest = Math.max(...rows.map((row) => row.label.length));
  return draw({
    ...{ width: 560, height: 60 + 30 * rows.length, marginLeft: 24 + 7.2 * longest, marginRight: 56, marginBottom: 40 },
    x: { label, grid: true, ticks: 5 },
    y: { label: null, domain: rows.map((row) => row.label) },
    marks: [
      Plot.barX(rows, { x: 'value', y: 'label', fill: 'label', insetTop: 4, insetBottom: 4 }),
      Plot.text(rows, { x: 'value', y: 'label', text: (row) => valueText(row.value), dx: 6, textAnchor: 'start' }),
      Plot.ruleX([0]),
    ],
  });
}

/** Errors of each layer as bars, one strip per model. */
export function drawLayers(models: readonly { readonly label: string; readonly errors: readonly number[] }[]): string {
  const bars = models.flatMap(({ label, errors }) => errors.map((error, layer) => ({ label, layer, error })));
  const longest = Math.max(...models.map(({ label }) => label.length));
  return draw({
    ...{
      width: 860,
      height: 60 + 70 * models.length,
      marginLeft: 48,
      marginRight: 24 + 7.2 * longest,
      marginBottom: 40,
    },
    x: { label: 'layer', ticks: 8, tickFormat: (at: number) => (Number.isInteger(at) ? String(at) : '') },
    y: { label: null, ticks: 3, grid: true, tickFormat: '~g' },
    fy: { label: null, domain: models.map(({ label }) => label) },
    marks: [
      Plot.rectY(bars, { x: 'layer', y: 'error', fy: 'label', interval: 1, inset: 0.5, fill: 'label' }),
      Plot.ruleY([0], { strokeOpacity: 0.4 }),
    ],
  });
}
