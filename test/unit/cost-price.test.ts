import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hourOfDay, type Prices, priceOf, ratesAt, tariffAt } from '../../src/cost/price.js';

const prices: Prices = {
  currency: 'EUR',
  tariffPerKwh: 0.3,
  tariffHours: [
    { from: 22, to: 6, perKwh: 0.2 },
    { from: 12, to: 14, perKwh: 0.1 },
  ],
  carbonGramsPerKwh: 400,
  carbonHours: [{ from: 10, to: 16, gramsPerKwh: 100 }],
  pue: 1.5,
  hardwarePrice: 876.6,
  hardwareYears: 4,
  timeZone: null,
};

test('tariffs hold from their first hour to before their last, over midnight too', () => {
  const hours = [21.99, 22, 23.5, 0, 5.99, 6, 12, 13.99, 14];
  assert.deepEqual(
    hours.map((hour) => tariffAt(prices, hour)),
    [0.3, 0.2, 0.2, 0.2, 0.2, 0.3, 0.1, 0.1, 0.3],
  );
});

test('a kWh of the machine and an hour of its life', () => {
  const price = priceOf(3.6e6, 3600, ratesAt(prices, 8));
  assert.equal(price.energy, 0.3 * 1.5);
  assert.equal(price.carbonGrams, 600);
  // 876.6 over 4 years of 8,766 hours.
  assert.ok(Math.abs(price.hardware - 0.025) < 1e-12);
  assert.equal(price.total, price.energy + price.hardware);
});

test('carbon has hours of its own', () => {
  const rates = [9.99, 10, 15.99, 16].map((hour) => ratesAt(prices, hour).gramsPerKwh);
  assert.deepEqual(rates, [400, 100, 100, 400]);
  assert.equal(priceOf(3.6e6, 0, ratesAt(prices, 12)).carbonGrams, 150);
});

test('the hour is that of the time zone, in summer and in winter', () => {
  const [summer, winter] = [Date.UTC(2026, 6, 1, 22, 30), Date.UTC(2026, 0, 1, 22, 30)];
  assert.deepEqual(
    [summer, winter].map((ms) => hourOfDay(ms, 'UTC')),
    [22.5, 22.5],
  );
  assert.deepEqual(
    [summer, winter].map((ms) => hourOfDay(ms, 'Europe/Berlin')),
    [0.5, 23.5],
  );
  assert.equal(hourOfDay(summer, 'Asia/Kolkata'), 4);
  assert.throws(() => hourOfDay(summer, 'Mars/Olympus'), RangeError);
});
