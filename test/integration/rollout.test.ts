/** Several models in one server: requests never notice that models come, go, are tried and are replaced. */
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { type AdminClient, RolloutServer } from '../support/rollout-server.js';

let folder = '';
let server: RolloutServer;
let admin: AdminClient;
const path = (name: string) => join(folder, `${name}.gguf`);

/** Two of the four models fit into the memory: each has 2.1 MB of KV cache (256 bytes a token) and less of weights. */
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-rollout-'));
  await writeTinyModel(path('a'), { seed: 1 });
  await copyFile(path('a'), path('same'));
  await writeTinyModel(path('b'), { seed: 2 });
  await writeTinyModel(path('c'), { seed: 3 });
  const models = ['a', 'same', 'b', 'c'].map((name) => `${name}=${path(name)}`).join(',');
  server = await RolloutServer.start({ models, kvTokens: '8192', modelMemoryMb: '6', home: folder, threads: '2' });
  admin = server.admin;
});
after(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const greedy = { temperature: 0, ignore_eos: true, return_token_ids: true };

/** Asks now and then, so that everything else goes on meanwhile. */
async function until(isThere: () => Promise<boolean>): Promise<void> {
  while (!(await isThere())) await new Promise((resolve) => setTimeout(resolve, 5));
}

type Answer = { readonly model: string; readonly fingerprint: string; readonly ids: string };

/** Greedy token ids of a model for a prompt that `n` numbers. */
async function answer(model: string, n: number, maxTokens = 12): Promise<Answer> {
  const body = { ...greedy, model, prompt: `prompt number ${n}`, max_tokens: maxTokens };
  const completion = await server.complete(body);
  const { system_fingerprint: fingerprint } = completion;
  return { model: completion.model, fingerprint, ids: JSON.stringify(completion.choices[0]?.token_ids) };
}

test('models are loaded when they are asked for, and the one used longest ago makes room', async () => {
  assert.deepEqual(await admin.states(), { a: 'ready', same: 'unloaded', b: 'unloaded', c: 'unloaded' });
  const [fromA, fromB] = [await answer('a', 0), await answer('b', 0)];
  assert.deepEqual([fromA.model, fromB.model], ['a', 'b']);
  assert.notEqual(fromA.ids, fromB.ids);
  assert.notEqual(fromA.fingerprint, fromB.fingerprint);
  assert.equal((await answer('same', 0)).fingerprint, fromA.fingerprint, 'the same weights');
  await answer('a', 1);
  await answer('c', 0);
  assert.deepEqual(await admin.states(), { a: 'ready', same: 'unloaded', b: 'unloaded', c: 'ready' });
  const { used_bytes, budget_bytes } = await admin.models();
  assert.ok(used_bytes > 2 * 8192 * 256 && used_bytes <= (budget_bytes ?? 0), `${used_bytes} of ${budget_bytes}`);
  // Brought back, it says the same; the one that had to go for it too.
  assert.deepEqual(await answer('b', 0), fromB);
  assert.deepEqual(await answer('a', 0), fromA);
  assert.equal((await server.post({ ...greedy, model: 'd', prompt: 'x' })).statusCode, 404);
});

test('a canary, its promotion and its rollback under load: no request fails, no text is another', async () => {
  const expected = await Promise.all(Array.from({ length: 8 }, (_, n) => answer('a', n)));
  const seen = new Map<string, number>();
  let isOver = false;
  const client = async (first: number): Promise<void> => {
    for (let n = first; !isOver; n = (n + 1) % 8) {
      const { model, ids } = await answer('default', n);
      assert.equal(ids, expected[n]?.ids);
      seen.set(model, (seen.get(model) ?? 0) + 1);
    }
  };
  const clients = Promise.all([0, 2, 4, 6].map(client));
  let failure: unknown = null;
  clients.catch((error: unknown) => {
    failure = error;
  });
  const unlessFailed = (isThere: () => Promise<boolean>) => until(async () => failure !== null || (await isThere()));
  const growsBeyond = (model: string, count: number) => unlessFailed(async () => (seen.get(model) ?? 0) > count);
  try {
    await admin.canary('default', 'same', 0.5, 1);
    await unlessFailed(async () => {
      const { report } = await admin.alias('default');
      return (report?.candidate.sequences ?? 0) >= 10 && (report?.quality?.sequences ?? 0) >= 3;
    });
    const { report } = await admin.alias('default');
    assert.deepEqual([report?.baseline.errors, report?.candidate.errors], [0, 0]);
    // The same weights find the same tokens likeliest, and nothing else would do.
    assert.equal(report?.quality?.agreement, 1);
    assert.equal(report?.quality?.baselinePerplexity, report?.quality?.candidatePerplexity);
    assert.ok((report?.candidate.interTokenSeconds?.p50 ?? 0) > 0);
    assert.ok((report?.candidate.energy?.joulesPerToken ?? 0) > 0);
    assert.equal(report?.baseline.energy?.source, 'tdp');
    const promoted = await admin.promote('default');
    assert.deepEqual([promoted.model, promoted.previous, promoted.canary], ['same', 'a', null]);
    await growsBeyond('same', (seen.get('same') ?? 0) + 8);
    const back = await admin.rollback('default');
    assert.deepEqual([back.model, back.previous], ['a', 'same']);
    // Those under way end where they began; from then on everybody gets the old one.
    await growsBeyond('a', (seen.get('a') ?? 0) + 8);
    const before = seen.get('same');
    await growsBeyond('a', (seen.get('a') ?? 0) + 8);
    assert.equal(seen.get('same'), before);
  } finally {
    isOver = true;
    await clients;
  }
});

test('a comparison tells another model apart; a candidate that breaks costs nobody an answer', async () => {
  await admin.canary('default', 'b', 0, 1);
  await answer('default', 1, 30);
  await until(async () => (await admin.alias('default')).report?.quality != null);
  const { report } = await admin.alias('default');
  assert.ok((report?.quality?.agreement ?? 1) < 0.9, JSON.stringify(report));
  assert.ok((report?.quality?.candidatePerplexity ?? 0) > (report?.quality?.baselinePerplexity ?? 0));
  await admin.canary('default', 'b', 1, 0);
  await admin.unload('b');
  await truncate(path('b'), 1000);
  assert.equal((await answer('default', 1)).model, 'a');
  assert.equal((await admin.models()).models.find(({ name }) => name === 'b')?.failure?.code, 'model_file_invalid');
  await admin.rollback('default');
});

test('unloading lets answers end, and whoever asks meanwhile gets the model again', async () => {
  const long = answer('c', 3, 400);
  await until(async () => {
    const { models } = await admin.models();
    return models.some(({ name, state, in_use }) => name === 'c' && state === 'ready' && in_use === 1);
  });
  const unloaded = admin.unload('c');
  await until(async () => (await admin.states()).c !== 'ready');
  const next = answer('c', 3, 400);
  assert.equal((await long).ids, (await next).ids);
  await unloaded;
});

test('a file replaced on disk changes nothing for the model in memory; loading it anew gives the new one', async () => {
  const [before, other] = [await answer('a', 5, 60), await answer('c', 5, 60)];
  const running = answer('a', 5, 60);
  await copyFile(path('c'), path('a'));
  assert.deepEqual([await running, await answer('a', 5, 60)], [before, before]);
  await admin.unload('c');
  await admin.load('new', path('a'));
  const { ids, fingerprint } = await answer('new', 5, 60);
  assert.deepEqual([ids, fingerprint], [other.ids, other.fingerprint]);
  await admin.unload('new', true);
  assert.equal((await server.post({ ...greedy, model: 'new', prompt: 'x' })).statusCode, 404);
});
