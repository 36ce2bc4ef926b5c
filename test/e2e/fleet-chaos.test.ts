/**
 * Three replicas behind other people's routers under load: one is killed and started again, then each is stopped in
 * turn and replaced. Ten seconds a router; NIBBLE_NIGHTLY=1 makes it ten minutes. Times: bench/fleet-chaos.ts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { scrape } from '../../src/cli/bench/server-metrics.js';
import { askOnce, type Outcome, outputTokens, type Replica, startCrowd, startReplicas } from '../support/fleet.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { needsHaproxy, type Router, startHaproxy, startVllmRouter } from '../support/routers.js';

const isNightly = process.env.NIBBLE_NIGHTLY === '1';
const rounds = isNightly ? 60 : 1;
const clients = 6;

const folder = mkdtempSync(join(tmpdir(), 'nibble-fleet-'));
let replicas: readonly Replica[] = [];

before(async () => {
  replicas = await startReplicas(3, await writeTinyModel(join(folder, 'tiny.gguf'), { seed: 5 }));
});
after(async () => {
  for (const crowd of crowds) void crowd.stop();
  await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
  rmSync(folder, { recursive: true });
});

/** A crowd that is still there when a test fails would go on for ever. */
const crowds: ReturnType<typeof startCrowd>[] = [];
function gather(url: string): ReturnType<typeof startCrowd> {
  const crowd = startCrowd(url, clients);
  crowds.push(crowd);
  return crowd;
}

/** Lets the crowd ask some more, so that every state of the fleet meets requests. */
async function moreRequests(crowd: ReturnType<typeof startCrowd>, count: number): Promise<void> {
  const goal = crowd.asked() + count;
  const end = performance.now() + 60_000;
  while (crowd.asked() < goal) {
    assert.ok(performance.now() < end, 'the fleet answers nothing');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const notWhole = (outcomes: readonly Outcome[]) => outcomes.filter(({ kind }) => kind !== 'whole');

async function killOneAfterTheOther(url: string): Promise<void> {
  const crowd = gather(url);
  for (let round = 0; round < rounds; round += 1) {
    const replica = replicas[round % replicas.length];
    assert.ok(replica);
    await moreRequests(crowd, 60);
    await replica.end('SIGKILL');
    await moreRequests(crowd, 60);
    await replica.start();
  }
  await moreRequests(crowd, 60);
  const { plain, streams } = await crowd.stop();
  assert.ok(plain.length >= 100 * rounds);
  assert.deepEqual(notWhole(plain), []);
  // A stream that has begun can't be sent again. It is cut visibly, and only those on the killed replica are.
  assert.ok(notWhole(streams).length <= rounds * clients, JSON.stringify(notWhole(streams)));
  for (const outcome of notWhole(streams)) assert.equal(outcome.kind, 'broken', JSON.stringify(outcome));
}

async function replaceAllInTurn(url: string): Promise<void> {
  const crowd = gather(url);
  for (let round = 0; round < rounds; round += 1) {
    for (const replica of replicas) {
      await moreRequests(crowd, 30);
      assert.equal(await replica.end('SIGTERM'), 0, 'it drains and ends well');
      await moreRequests(crowd, 20);
      await replica.start();
    }
  }
  const { plain, streams } = await crowd.stop();
  assert.deepEqual(notWhole(plain), []);
  assert.deepEqual(notWhole(streams), []);
  assert.ok(plain.length + streams.length >= 150 * rounds);
}

const total = async (name: string): Promise<number> => {
  const scrapes = await Promise.all(replicas.map(({ url }) => scrape(url)));
  return scrapes.reduce((sum, one) => sum + one.sum(name), 0);
};

/** Nothing is held for requests of the past, and what is asked now is counted once. */
async function checkBooks(url: string): Promise<void> {
  for (const name of ['vllm:num_requests_running', 'vllm:num_requests_waiting', 'nibble_kv_blocks_used']) {
    const end = performance.now() + 60_000;
    while ((await total(name)) > 0) assert.ok(performance.now() < end, `${name} stays`);
  }
  const before = await total('vllm:generation_tokens_total');
  const asked = await Promise.all(
    Array.from({ length: 9 }, (_, i) => askOnce(url, { prompt: `Last ${i}` }, i % 3 === 0)),
  );
  assert.deepEqual(notWhole(asked), []);
  assert.equal((await total('vllm:generation_tokens_total')) - before, asked.length * outputTokens);
}

const routers = [
  { name: 'HAProxy', options: needsHaproxy, start: () => startHaproxy(replicas) },
  { name: 'vllm-router', options: {}, start: () => startVllmRouter(replicas, 'round_robin') },
];
for (const { name, options, start } of routers) {
  describe(`behind ${name}`, options, () => {
    let router: Router;
    before(async () => {
      router = await start();
    });
    after(() => router.end());

    test('a replica is killed and comes back: no request is lost that could be sent again', () =>
      killOneAfterTheOther(router.url));
    test('every replica is stopped and replaced in turn: no request fails, streamed or not', () =>
      replaceAllInTurn(router.url));
    test('the replicas have counted right, and hold nothing', () => checkBooks(router.url));
  });
}
