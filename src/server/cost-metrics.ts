/** Series of money, of API keys and of the ledger; everything is summed elsewhere and read when scraped. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { CostBook, KeySums } from '../metering/cost-book.js';
import type { Ledger } from '../metering/ledger/ledger.js';

export type CostSums = Pick<CostBook, 'prices' | 'requests' | 'own' | 'idle' | 'keys' | 'tick'>;
export type LedgerGauges = Pick<Ledger, 'counts' | 'isUp' | 'waitingRows'>;

type Row = { readonly labels: Readonly<Record<string, string>>; readonly value: number };

function counter(registers: Registry[], name: string, help: string, labelNames: string[], read: () => readonly Row[]) {
  new Counter({
    ...{ name, help, labelNames, registers },
    collect() {
      this.reset();
      for (const { labels, value } of read()) this.inc(labels, value);
    },
  });
}

/** Money and carbon of everything that the machine did, doing nothing included. There is none without prices. */
export function addMoney(registry: Registry, book: CostSums): void {
  const { prices, requests, own, idle } = book;
  if (prices === null) return;
  const { currency } = prices;
  const all = [requests, own, idle];
  counter(
    [registry],
    'nibble_cost_total',
    'Money for energy and machine time, idle time included.',
    ['currency'],
    () => {
      book.tick();
      return [{ labels: { currency }, value: all.reduce((sum, { cost }) => sum + cost, 0) }];
    },
  );
  counter([registry], 'nibble_carbon_grams_total', 'Grams of CO2 equivalents of the energy.', [], () => [
    { labels: {}, value: all.reduce((sum, { carbonGrams }) => sum + carbonGrams, 0) },
  ]);
}

/** What each API key has used; the number of keys is bounded by the book. */
export function addKeySeries(registry: Registry, book: CostSums): void {
  const currency = book.prices?.currency;
  const rows = (read: (sums: KeySums) => number, more = {}) =>
    [...book.keys].map(([key, sums]) => ({ labels: { key, ...more }, value: read(sums) }));
  counter([registry], 'nibble_key_energy_joules_total', 'Joules that requests of an API key used.', ['key'], () => {
    book.tick();
    return rows(({ tally: { prefillJoules, decodeJoules } }) => prefillJoules + decodeJoules);
  });
  counter([registry], 'nibble_key_requests_total', 'Requests of an API key that ended.', ['key'], () =>
    rows(({ requests }) => requests),
  );
  const tokensHelp = 'Tokens of prompts and answers of an API key.';
  counter([registry], 'nibble_key_tokens_total', tokensHelp, ['key'], () => rows(({ tokens }) => tokens));
  if (currency === undefined) return;
  counter([registry], 'nibble_key_cost_total', 'Money that requests of an API key cost.', ['key', 'currency'], () =>
    rows(({ tally }) => tally.cost, { currency }),
  );
}

export function addLedger(registry: Registry, ledger: LedgerGauges): void {
  counter([registry], 'nibble_ledger_rows_total', 'Rows of the ledger, by what became of them.', ['result'], () => [
    { labels: { result: 'written' }, value: ledger.counts.written },
    { labels: { result: 'lost' }, value: ledger.counts.lost },
  ]);
  const failuresHelp = 'Attempts to write the ledger that failed.';
  counter([registry], 'nibble_ledger_failures_total', failuresHelp, [], () => [
    { labels: {}, value: ledger.counts.failures },
  ]);
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      ...{ name, help, registers: [registry] },
      collect() {
        this.set(read());
      },
    });
  gauge('nibble_ledger_up', '1 if the ledger could be written at the last attempt.', () => (ledger.isUp ? 1 : 0));
  gauge('nibble_ledger_waiting_rows', 'Rows that wait to be written.', () => ledger.waitingRows);
}
