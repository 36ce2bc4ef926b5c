/** Metrics that are kept elsewhere: their rows are read when somebody scrapes, and cost nothing in between. */
import { Counter, Gauge, type Registry } from 'prom-client';

export type Row = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

/** The only row of a metric without labels. */
export const single = (value: number): readonly Row[] => [{ labels: {}, value }];

export type Scraped = {
  readonly name: string;
  readonly help: string;
  /** Left out: none. */
  readonly labels?: readonly string[];
  readonly read: () => readonly Row[];
};

/** What only grows. */
export function addCounter(registry: Registry, { name, help, labels = [], read }: Scraped): void {
  new Counter({
    ...{ name, help, labelNames: [...labels], registers: [registry] },
    collect() {
      this.reset();
      for (const row of read()) this.inc(row.labels, row.value);
    },
  });
}

export function addGauge(registry: Registry, { name, help, labels = [], read }: Scraped): void {
  new Gauge({
    ...{ name, help, labelNames: [...labels], registers: [registry] },
    collect() {
      this.reset();
      for (const row of read()) this.set(row.labels, row.value);
    },
  });
}
