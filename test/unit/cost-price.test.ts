import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Prices, priceOf, tariffAt } from '../../src/cost/price.js';

const prices: Prices = {
  currency: 'EUR',
  tariffPerKwh: 0.3,
  tariffHours: [
    { from: 22, to: 6, perKwh: 0.2 },
    { from: 12, to: 14, perKwh: 0.1 },
  ],
  carbonGramsPerKwh: 400,
  pue: 1.5,
  hardwarePrice: 876.6,
  hardwareYears: 4,
};

test('tariffs hold from their first hour to before their last, over midnight too', () => {
  const hours = [21.99, 22, 23.5, 0, 5.99, 6, 12, 13.99, 14];
  assert.deepEqual(
    hours.map((hour) => tariffAt(prices, hour)),
    [0.3, 0.2, 0.2, 0.2, 0.2, 0.3, 0.1, 0.1, 0.3],
  );
});

test('a kWh of the machine and an hour of its life', () => {
  const price = priceOf(3.6e6, 3600, 8, prices);
  assert.equal(price.energy, 0.3 * 1.5);
  assert.equal(price.carbonGrams, 600);
  // 876.6 over 4 years of 8,766 hours.
  assert.ok(Math.abs(price.hardware - 0.025) < 1e-12);
  assert.equal(price.total, price.energy + price.hardware);
});
