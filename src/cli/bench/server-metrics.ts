/** What a server counts itself: one scrape of /metrics. */
import { NibbleError } from '../../errors.js';

export type Scrape = {
  /** When the answer had come, on this process's clock, ms. */
  readonly atMs: number;
  /** The sum of all series of a metric that have these labels. Throws `bench_failed` if there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number;
};

export async function scrape(url: string): Promise<Scrape> {
  return readScrape(await fetchScrape(url));
}

/** A scrape that nobody has looked at yet. */
export type RawScrape = { readonly response: Response; readonly text: string; readonly atMs: number };

export async function fetchScrape(url: string): Promise<RawScrape> {
  const response = await fetch(`${url}/metrics`);
  const text = await response.text();
  return { response, text, atMs: performance.now() };
}

export function readScrape({ response, text, atMs }: RawScrape): Scrape {
  if (!response.ok) throw new NibbleError('bench_failed', { message: `/metrics answered ${response.status}` });
  const series = text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^([a-z_:]+)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
    return name === undefined ? [] : [{ name, labels: `,${labels},`, value: Number(value) }];
  });
  return {
    atMs,
    sum(name, labels = {}) {
      const wanted = Object.entries(labels).map(([key, value]) => `,${key}="${value}",`);
      const found = series.filter((one) => one.name === name && wanted.every((label) => one.labels.includes(label)));
      if (found.length === 0) throw new NibbleError('bench_failed', { message: `/metrics has no ${name}` });
      return found.reduce((sum, { value }) => sum + value, 0);
    },
  };
}
