/** The plots of a plan. */
import * as Plot from '@observablehq/plot';
import type { Analyzed } from '../../cost/tco/analysis.js';
import { costParts } from '../../cost/tco/costs.js';
import { draw } from '../../report/plots.js';

/** Room for the longest of these names, left of a plot. */
const marginFor = (labels: readonly string[]): number => 24 + 6.6 * Math.max(...labels.map(({ length }) => length));

/** Where the money of a month goes: a bar for each choice, a colour for each part. */
export function drawParts(outcomes: readonly Analyzed[], currency: string): string {
  const bars = outcomes.flatMap(({ name, parts }) => {
    return costParts.map((part) => ({ name, part, cost: parts[part], title: `${part}: ${parts[part].toFixed(2)}` }));
  });
  const names = outcomes.map(({ name }) => name);
  return draw({
    ...{ width: 860, height: 70 + 34 * names.length, marginLeft: marginFor(names), marginRight: 24, marginTop: 36 },
    x: { label: `${currency} a month`, grid: true, axis: 'top' },
    y: { label: null, domain: names },
    marks: [
      Plot.barX(bars, { x: 'cost', y: 'name', fill: 'part', title: 'title', insetTop: 3, insetBottom: 3 }),
      Plot.ruleX([0]),
    ],
  });
}

/** The parts and their colours, as words: a plot's own legend would need HTML beside the picture. */
export function drawPartNames(): string {
  const names = costParts.map((part, i) => ({ part, i }));
  return draw({
    ...{ width: 640, height: 28, margin: 0, x: { axis: null, domain: [0, costParts.length] }, y: { axis: null } },
    marks: [
      Plot.dot(names, { x: (d) => d.i + 0.08, y: () => 0, fill: 'part', r: 6, symbol: 'square' }),
      Plot.text(names, { x: (d) => d.i + 0.18, y: () => 0, text: 'part', textAnchor: 'start' }),
    ],
  });
}

type End = { readonly name: string; readonly month: number; readonly money: number };

/** Moves names apart that would cover each other, upwards from the lowest. */
function spreadNames(ends: readonly End[], gap: number): End[] {
  const placed: End[] = [];
  for (const end of [...ends].sort((a, b) => a.money - b.money)) {
    const below = placed.at(-1)?.money ?? Number.NEGATIVE_INFINITY;
    placed.push({ ...end, money: Math.max(end.money, below + gap) });
  }
  return placed;
}

/** Money paid from the start, a line for each choice: where two cross, one has paid itself off. */
export function drawPaid(outcomes: readonly Analyzed[], currency: string): string {
  const lines = outcomes.flatMap(({ name, paid }) => paid.map((money, month) => ({ name, month, money })));
  const ends = lines.filter(({ month }) => month === (outcomes[0]?.paid.length ?? 0) - 1);
  const names = spreadNames(ends, Math.max(...lines.map(({ money }) => money)) / 18);
  const longest = marginFor(outcomes.map(({ name }) => name));
  return draw({
    ...{ width: 860, height: 340, marginLeft: 72, marginRight: longest, marginTop: 32, marginBottom: 44 },
    x: { label: 'month', ticks: 8 },
    y: { label: `${currency} paid so far`, grid: true, tickFormat: '~s' },
    marks: [
      Plot.line(lines, { x: 'month', y: 'money', stroke: 'name' }),
      Plot.text(names, { x: 'month', y: 'money', text: 'name', fill: 'name', dx: 6, textAnchor: 'start' }),
    ],
  });
}

const SWINGS_SHOWN = 12;

/** A tornado: what the choice saves if one figure is at its ends and the others stay, the strongest first. */
export function drawTornado({ swings, savesPerMonth }: Analyzed, currency: string): string {
  const shown = swings.slice(0, SWINGS_SHOWN);
  const bars = shown.flatMap(({ path, range, atLow, atHigh }) => [
    { path, end: 'low', from: savesPerMonth, to: atLow, title: `${range.low}: ${atLow.toFixed(2)}` },
    { path, end: 'high', from: savesPerMonth, to: atHigh, title: `${range.high}: ${atHigh.toFixed(2)}` },
  ]);
  const paths = shown.map(({ path }) => path);
  const margin = marginFor(paths);
  const values = [0, savesPerMonth, ...bars.map(({ to }) => to)];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  // Room for the words at the ends.
  const room = 0.08 * (most - least) || 1;
  return draw({
    ...{ width: 860, height: 70 + 26 * shown.length, marginLeft: margin, marginRight: 40, marginTop: 36 },
    x: { label: `${currency} saved a month`, grid: true, axis: 'top', domain: [least - room, most + room] },
    y: { label: null, domain: paths },
    marks: [
      Plot.barX(bars, { x1: 'from', x2: 'to', y: 'path', fill: 'end', title: 'title', insetTop: 3, insetBottom: 3 }),
      // A word beside each end, outside of the bar.
      Plot.text(
        bars.filter(({ from, to }) => to < from),
        { x: 'to', y: 'path', text: 'end', fontSize: 10, dx: -14 },
      ),
      Plot.text(
        bars.filter(({ from, to }) => to > from),
        { x: 'to', y: 'path', text: 'end', fontSize: 10, dx: 14 },
      ),
      Plot.ruleX([savesPerMonth], { stroke: 'currentColor' }),
      Plot.ruleX([0], { stroke: 'currentColor', strokeOpacity: 0.5, strokeDasharray: '3 3' }),
    ],
  });
}

/** How often the draws saved how much. */
export function drawSavings({ chances: { savings } }: Analyzed, currency: string): string {
  const { from, to, counts } = savings;
  const step = (to - from) / counts.length || 1;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const bars = counts.map((count, i) => {
    return { from: from + i * step, to: from + (i + 1) * step, share: count / total, saves: from + i * step >= 0 };
  });
  return draw({
    ...{ width: 860, height: 260, marginLeft: 56, marginRight: 24, marginTop: 32, marginBottom: 44 },
    x: { label: `${currency} saved a month`, grid: true },
    y: { label: 'share of the draws', grid: true, tickFormat: '~%' },
    marks: [
      Plot.rectY(bars, { x1: 'from', x2: 'to', y: 'share', fill: 'saves', inset: 0.5 }),
      Plot.ruleX([0], { stroke: 'currentColor' }),
      Plot.ruleY([0], { strokeOpacity: 0.4 }),
    ],
  });
}
