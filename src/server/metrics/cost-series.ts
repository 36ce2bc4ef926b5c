/** Series of money, of API keys and of the ledger; everything is summed elsewhere and read when scraped. */
import type { Registry } from 'prom-client';
import type { CostBook, KeySums } from '../../metering/cost-book.js';
import type { Ledger } from '../../metering/ledger/ledger.js';
import { addCounter, addGauge, single } from './scraped.js';

export type CostSums = Pick<CostBook, 'prices' | 'requests' | 'own' | 'idle' | 'keys' | 'tick'>;
export type LedgerGauges = Pick<Ledger, 'counts' | 'isUp' | 'waitingRows'>;

/** Money and carbon of everything that the machine did, doing nothing included. There is none without prices. */
export function addMoney(registry: Registry, book: CostSums): void {
  const { prices, requests, own, idle } = book;
  if (prices === null) return;
  const { currency } = prices;
  const all = [requests, own, idle];
  addCounter(registry, {
    name: 'nibble_cost_total',
    help: 'Money for energy and machine time, idle time included.',
    labels: ['currency'],
    read: () => {
      book.tick();
      return [{ labels: { currency }, value: all.reduce((sum, { cost }) => sum + cost, 0) }];
    },
  });
  addCounter(registry, {
    name: 'nibble_carbon_grams_total',
    help: 'Grams of CO2 equivalents of the energy.',
    read: () => single(all.reduce((sum, { carbonGrams }) => sum + carbonGrams, 0)),
  });
}

/** What each API key has used; the number of keys is bounded by the book. */
export function addKeySeries(registry: Registry, book: CostSums): void {
  const currency = book.prices?.currency;
  const rows = (read: (sums: KeySums) => number, more = {}) =>
    [...book.keys].map(([key, sums]) => ({ labels: { key, ...more }, value: read(sums) }));
  addCounter(registry, {
    name: 'nibble_key_energy_joules_total',
    help: 'Joules that requests of an API key used.',
    labels: ['key'],
    read: () => {
      book.tick();
      return rows(({ tally: { prefillJoules, decodeJoules } }) => prefillJoules + decodeJoules);
    },
  });
  addCounter(registry, {
    name: 'nibble_key_requests_total',
    help: 'Requests of an API key that ended.',
    labels: ['key'],
    read: () => rows(({ requests }) => requests),
  });
  addCounter(registry, {
    name: 'nibble_key_tokens_total',
    help: 'Tokens of prompts and answers of an API key.',
    labels: ['key'],
    read: () => rows(({ tokens }) => tokens),
  });
  if (currency === undefined) return;
  addCounter(registry, {
    name: 'nibble_key_cost_total',
    help: 'Money that requests of an API key cost.',
    labels: ['key', 'currency'],
    read: () => rows(({ tally }) => tally.cost, { currency }),
  });
}

export function addLedger(registry: Registry, ledger: LedgerGauges): void {
  addCounter(registry, {
    name: 'nibble_ledger_rows_total',
    help: 'Rows of the ledger, by what became of them.',
    labels: ['result'],
    read: () => [
      { labels: { result: 'written' }, value: ledger.counts.written },
      { labels: { result: 'lost' }, value: ledger.counts.lost },
    ],
  });
  addCounter(registry, {
    name: 'nibble_ledger_failures_total',
    help: 'Attempts to write the ledger that failed.',
    read: () => single(ledger.counts.failures),
  });
  addGauge(registry, {
    name: 'nibble_ledger_up',
    help: '1 if the ledger could be written at the last attempt.',
    read: () => single(ledger.isUp ? 1 : 0),
  });
  addGauge(registry, {
    name: 'nibble_ledger_waiting_rows',
    help: 'Rows that wait to be written.',
    read: () => single(ledger.waitingRows),
  });
}
