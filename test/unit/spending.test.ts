/** A request in the books: all of its sequences are one entry, complete when the last of them has let go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CostAccount } from '../../src/cost/attribution.js';
import type { GenerationRequest, SequenceSummary } from '../../src/engine/types.js';
import { CostBook } from '../../src/metering/cost-book.js';
import { EnergyMonitor } from '../../src/metering/energy-monitor.js';
import type { LedgerRow } from '../../src/metering/ledger/types.js';
import { enterInto } from '../../src/server/generation/spending.js';
import { request } from '../support/engine-kit.js';
import { complete, createFakeServer } from '../support/fake-server.js';

function setUp(t: { after(work: () => void): void }) {
  const written: LedgerRow[] = [];
  const monitor = new EnergyMonitor({ source: 'measured', description: 'nothing', joules: () => 0, close() {} });
  const book = new CostBook({ monitor, prices: null, write: (rows) => written.push(...rows) });
  t.after(() => {
    book.close();
    monitor.close();
  });
  const rows = () => {
    written.length = 0;
    book.tick();
    return written
      .filter(({ kind }) => kind === 'request')
      .map(({ outcome, promptTokens, cachedTokens, completionTokens, key }) => {
        return [outcome, promptTokens, cachedTokens, completionTokens, key];
      });
  };
  return { book, monitor, rows };
}

const payer = { key: 'alice', model: 'm', recipe: 'r' };
const summary = (reason: SequenceSummary['reason'], cachedTokens: number, completionTokens: number) => ({
  ...{ reason, cachedTokens, completionTokens, promptTokens: 99, queueSeconds: 0, firstTokenSeconds: 0 },
  totalSeconds: 0,
});

test('prompts count once, and so does what was found of them; the worst outcome counts', (t) => {
  const { book, rows } = setUp(t);
  const [one, other] = [Int32Array.of(1, 2, 3), Int32Array.of(4, 5)];
  const account = new CostAccount();
  const told: string[] = [];
  const sequence = (promptIds: Int32Array): GenerationRequest => ({
    ...request(promptIds, 4, { accounts: [account], onReleased: ({ reason }) => told.push(reason) }),
    promptIds,
  });
  const entered = enterInto(book.begin(payer, account), [sequence(one), sequence(one), sequence(other)]);
  assert.deepEqual(
    entered.map(({ accounts }) => accounts?.map((each) => each === account)),
    [[true], [true], [true]],
  );
  assert.deepEqual(rows(), [['running', 5, 0, 0, 'alice']]);
  // The second choice is released first: what it found, the first one had computed.
  entered[1]?.onReleased?.(summary('stop', 2, 4));
  entered[0]?.onReleased?.(summary('abort', 1, 3));
  assert.deepEqual(rows(), []);
  entered[2]?.onReleased?.(summary('length', 1, 2));
  assert.deepEqual(rows(), [['abort', 5, 2, 9, 'alice']]);
  assert.deepEqual(told, ['stop', 'abort', 'length']);
});

test('accounts of others are kept beside its own', (t) => {
  const { book } = setUp(t);
  const side = new CostAccount();
  const entry = book.begin(payer);
  const [entered] = enterInto(entry, [request([1], 1, { accounts: [side] })]);
  assert.deepEqual(
    entered?.accounts?.map((account) => [account === entry.account, account === side]),
    [
      [true, false],
      [false, true],
    ],
  );
});

test('every request of a server is entered, the refused ones are not', async (t) => {
  const { book, monitor, rows } = setUp(t);
  const costs = {
    open: () => new CostAccount(),
    begin: (...given: Parameters<CostBook['begin']>) => book.begin(...given),
    bill: () => assert.fail('nobody asked'),
  };
  let isFull = false;
  const refuse = () => (isFull ? new RangeError('full') : null);
  const server = createFakeServer({ costs, refuse, cachedTokens: 1 });
  assert.equal((await complete(server, { model: 'default', prompt: 'abc', max_tokens: 4, n: 2 })).status, 200);
  assert.deepEqual(rows(), [['done', 3, 1, 8, '']]);
  isFull = true;
  assert.equal((await complete(server, { model: 'default', prompt: 'abc' })).status, 500);
  assert.deepEqual(rows(), []);
  assert.equal(monitor.own.joules, 0);
});
