/**
 * Three replicas behind HAProxy under load: one is killed and started again, then each is stopped in turn and replaced.
 * Ten seconds; NIBBLE_NIGHTLY=1 makes it ten minutes.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePort, needsHaproxy, type Outcome, Replica, startCrowd, startRouter } from '../support/fleet.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';

const isNightly = process.env.NIBBLE_NIGHTLY === '1';
const rounds = isNightly ? 60 : 1;
const clients = 6;

const folder = mkdtempSync(join(tmpdir(), 'nibble-fleet-'));
const replicas: Replica[] = [];
let router: Awaited<ReturnType<typeof startRouter>>;

before(async () => {
  if (needsHaproxy.skip !== undefined) return;
  const model = await writeTinyModel(join(folder, 'tiny.gguf'), { seed: 5 });
  for (let i = 0; i < 3; i += 1) replicas.push(new Replica(await freePort(), model));
  await Promise.all(replicas.map((replica) => replica.start()));
  router = await startRouter(
    folder,
    replicas.map(({ port }) => port),
  );
});
after(async () => {
  router?.end();
  await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
  rmSync(folder, { recursive: true });
});

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

test('a replica is killed and comes back: no request is lost that could be sent again', needsHaproxy, async () => {
  const crowd = startCrowd(router.url, clients);
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
  for (const outcome of streams) assert.notEqual(outcome.kind, 'failed');
});

test('every replica is stopped and replaced in turn: no request fails, streamed or not', needsHaproxy, async () => {
  const crowd = startCrowd(router.url, clients);
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
});
