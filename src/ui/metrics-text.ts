/** What /metrics answers, read: Prometheus' text format. Pure: the page and `nibble top` share it. */

export type Series = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

/** One scrape. */
export type Snapshot = {
  /** When the answer had come, on the reader's clock, ms. */
  readonly atMs: number;
  /** By the name of the series; histograms are `…_bucket`, `…_sum` and `…_count`. */
  readonly series: ReadonlyMap<string, readonly Series[]>;
};

type Labels = Readonly<Record<string, string>>;

const linePattern = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$/;
const labelPattern = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const unescaped = (text: string): string =>
  text.replace(/\\(.)/g, (_all, sign: string) => (sign === 'n' ? '\n' : sign));

function numberOf(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY;
  return text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text);
}

/** Lines that are no series, comments among them, are left out. */
export function parseMetrics(text: string, atMs: number): Snapshot {
  const series = new Map<string, Series[]>();
  for (const line of text.split('\n')) {
    const [, name, labelText = '', valueText = ''] = linePattern.exec(line) ?? [];
    if (name === undefined) continue;
    const labels: Record<string, string> = {};
    for (const [, key = '', value = ''] of labelText.matchAll(labelPattern)) labels[key] = unescaped(value);
    const known = series.get(name) ?? [];
    known.push({ labels, value: numberOf(valueText) });
    series.set(name, known);
  }
  return { atMs, series };
}

export function seriesOf(snapshot: Snapshot, name: string, labels: Labels = {}): readonly Series[] {
  const wanted = Object.entries(labels);
  const found = snapshot.series.get(name) ?? [];
  return found.filter((one) => wanted.every(([key, value]) => one.labels[key] === value));
}

/** The sum of all series of a name that have these labels; 0 if there are none. */
export function sumOf(snapshot: Snapshot, name: string, labels: Labels = {}): number {
  return seriesOf(snapshot, name, labels).reduce((sum, { value }) => sum + value, 0);
}

/** By how much a counter has grown. A server that started anew counts from 0. */
export function growth(before: Snapshot, after: Snapshot, name: string, labels: Labels = {}): number {
  const [from, to] = [sumOf(before, name, labels), sumOf(after, name, labels)];
  return to < from ? to : to - from;
}

/**
 * A quantile of what a histogram has counted between two scrapes, by linear interpolation within its bucket, as
 * Prometheus' histogram_quantile has it; the last bound for what lies beyond; null if nothing was counted.
 */
export function quantileBetween(before: Snapshot, after: Snapshot, name: string, quantile: number): number | null {
  const bucket = `${name}_bucket`;
  const bounds = [...new Set(seriesOf(after, bucket).map(({ labels }) => labels.le ?? ''))]
    .map((le) => ({ bound: numberOf(le), count: growth(before, after, bucket, { le }) }))
    .sort((a, b) => a.bound - b.bound);
  const total = bounds.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const rank = quantile * total;
  let [lower, below] = [0, 0];
  for (const { bound, count } of bounds) {
    if (count >= rank && count > below) {
      return Number.isFinite(bound) ? lower + ((bound - lower) * (rank - below)) / (count - below) : lower;
    }
    if (Number.isFinite(bound)) lower = bound;
    below = count;
  }
  return lower;
}
