import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Lease, ModelRegistry } from '../../src/engine/model-registry.js';
import { NibbleError } from '../../src/errors.js';
import { LOAD_RETRY_MS, MODELS_MAX } from '../../src/limits.js';

/** Lets everything happen that doesn't wait for a test. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

const never = new AbortController().signal;

/** A registry of models that are their own names and as large as the test says; opening waits where it is held. */
function kit(sizes: Readonly<Record<string, number>>, budgetBytes: number | null = null) {
  const opens: string[] = [];
  const closes: string[] = [];
  const failures: string[] = [];
  const inMemory = new Set<string>();
  const state = { nowMs: 0, broken: new Set<string>(), held: null as Promise<void> | null, mostBytes: 0 };
  const bytesInMemory = () => [...inMemory].reduce((sum, name) => sum + (sizes[name] ?? 0), 0);
  const registry = new ModelRegistry<string>({
    prepare: async (name, source) => {
      assert.equal(source, `${name}.gguf`);
      if (state.broken.has(name)) throw new NibbleError('model_file_not_found', { path: source });
      const bytes = sizes[name] ?? assert.fail(name);
      const open = async () => {
        await state.held;
        opens.push(name);
        assert.ok(!inMemory.has(name), `${name} is in memory twice`);
        inMemory.add(name);
        state.mostBytes = Math.max(state.mostBytes, bytesInMemory());
        const close = async () => {
          closes.push(name);
          assert.ok(inMemory.delete(name), `${name} was closed twice`);
        };
        return { model: name, bytes, close };
      };
      return { bytes, open };
    },
    onFailure: (name, { code }) => failures.push(`${name} ${code}`),
    budgetBytes,
    now: () => state.nowMs,
  });
  for (const name of Object.keys(sizes)) registry.add(name, `${name}.gguf`);
  const stateOf = (name: string) => registry.list().find((model) => model.name === name)?.state;
  return { registry, opens, closes, failures, inMemory, state, stateOf };
}

test('a model is loaded when it is first asked for, once for all who wait', async () => {
  const { registry, opens, stateOf } = kit({ a: 1 });
  assert.equal(stateOf('a'), 'unloaded');
  assert.equal(registry.acquireReady('a'), null);
  const leases = await Promise.all([registry.acquire('a', never), registry.acquire('a', never)]);
  assert.deepEqual([opens, stateOf('a'), leases.map(({ model }) => model)], [['a'], 'ready', ['a', 'a']]);
  assert.equal(registry.list()[0]?.inUse, 2);
  assert.equal(registry.acquireReady('a')?.model, 'a');
});

test('what is not known, known twice or one too many is refused', async () => {
  const { registry } = kit({ a: 1 });
  await assert.rejects(registry.acquire('b', never), { code: 'model_not_found', param: 'model' });
  assert.throws(() => registry.add('a', 'x'), { code: 'model_exists' });
  for (let i = 1; i < MODELS_MAX; i++) registry.add(`m${i}`, 'x');
  assert.throws(() => registry.add('one more', 'x'), { code: 'models_full' });
});

test('the idle model that was used longest ago makes room', async () => {
  const { registry, closes } = kit({ a: 4, b: 4, c: 4 }, 8);
  for (const name of ['a', 'b', 'a']) (await registry.acquire(name, never)).release();
  await registry.acquire('c', never);
  assert.deepEqual(closes, ['b']);
});

test('a model in use is not taken away: whoever needs its room waits, and its next user waits for that', async () => {
  const { registry, opens, closes, stateOf } = kit({ a: 6, b: 6 }, 8);
  const first = await registry.acquire('a', never);
  const other = registry.acquire('b', never);
  await settle();
  assert.deepEqual([stateOf('a'), stateOf('b'), closes], ['draining', 'loading', []]);
  const again = registry.acquire('a', never);
  await settle();
  first.release();
  first.release();
  const lease = await other;
  assert.deepEqual([opens, closes], [['a', 'b'], ['a']]);
  await settle();
  assert.equal(stateOf('a'), 'loading');
  lease.release();
  assert.equal((await again).model, 'a');
  assert.deepEqual(closes, ['a', 'b']);
});

test('a model larger than all memory is refused, and nothing makes room for it', async () => {
  const { registry, inMemory } = kit({ a: 4, big: 9 }, 8);
  (await registry.acquire('a', never)).release();
  await assert.rejects(registry.acquire('big', never), (error: unknown) => {
    assert.ok(error instanceof NibbleError && error.cause instanceof NibbleError);
    assert.deepEqual([error.code, error.status, error.cause.code], ['model_unavailable', 503, 'model_memory_exceeded']);
    return true;
  });
  assert.deepEqual([...inMemory], ['a']);
});

test('a failure is told to all who wait, and to others until it is worth another attempt', async () => {
  const { registry, state, opens, failures } = kit({ a: 1 });
  state.broken.add('a');
  for (const outcome of await Promise.allSettled([registry.acquire('a', never), registry.acquire('a', never)])) {
    assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'model_unavailable');
  }
  assert.equal(registry.list()[0]?.failure?.code, 'model_file_not_found');
  state.broken.clear();
  state.nowMs = LOAD_RETRY_MS - 1;
  await assert.rejects(registry.acquire('a', never), { code: 'model_unavailable', retryAfterSeconds: 5 });
  state.nowMs = LOAD_RETRY_MS;
  assert.equal((await registry.acquire('a', never)).model, 'a');
  assert.deepEqual([opens, failures], [['a'], ['a model_file_not_found']]);
});

test('who gives up waiting is gone, and the model is loaded all the same', async () => {
  const { registry, state, stateOf } = kit({ a: 1 });
  let release = () => {};
  state.held = new Promise((resolve) => {
    release = resolve;
  });
  const controller = new AbortController();
  const waiting = registry.acquire('a', controller.signal);
  await settle();
  controller.abort(new Error('gave up'));
  await assert.rejects(waiting, /gave up/);
  assert.equal(registry.list()[0]?.inUse, 0);
  release();
  await settle();
  assert.equal(stateOf('a'), 'ready');
  await assert.rejects(registry.acquire('a', controller.signal), /gave up/);
});

test('unloading waits for the last user, removing refuses new ones at once; a cut ends both waits', async () => {
  const { registry, closes, stateOf } = kit({ a: 1, b: 1, c: 1 });
  const lease = await registry.acquire('a', never);
  const unloaded = registry.unload('a');
  await settle();
  assert.deepEqual([stateOf('a'), closes], ['draining', []]);
  lease.release();
  await unloaded;
  assert.deepEqual([stateOf('a'), closes], ['unloaded', ['a']]);
  const kept = await registry.acquire('b', never);
  const removed = registry.remove('b');
  await assert.rejects(registry.acquire('b', never), { code: 'model_not_found' });
  assert.equal(registry.usedBytes, 1);
  kept.release();
  await removed;
  assert.equal(registry.usedBytes, 0);
  await registry.acquire('c', never);
  await registry.unload('c', Promise.resolve());
  assert.deepEqual(closes, ['a', 'b', 'c']);
});

test('once closed, nobody gets a model, those included that waited for one', async () => {
  const { registry, state } = kit({ a: 1, b: 1 });
  await registry.acquire('a', never);
  state.held = new Promise(() => {});
  const waiting = registry.acquire('b', never);
  await settle();
  registry.close();
  await assert.rejects(waiting, { code: 'draining' });
  await assert.rejects(registry.acquire('a', never), { code: 'draining' });
  assert.equal(registry.acquireReady('a'), null);
  assert.deepEqual(
    registry.loaded().map(({ model }) => model),
    ['a'],
  );
});

type Command =
  | { readonly kind: 'acquire'; readonly name: string }
  | { readonly kind: 'unload'; readonly name: string }
  | { readonly kind: 'release'; readonly index: number };

test('whatever happens: a lease holds a loaded model, memory is bounded, and everybody is served in the end', async () => {
  const names = ['a', 'b', 'c', 'd'];
  const name = fc.constantFrom(...names);
  const command: fc.Arbitrary<Command> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('acquire' as const), name }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('unload' as const), name }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('release' as const), index: fc.nat(20) }) },
  );
  const property = fc.asyncProperty(fc.array(command, { maxLength: 40 }), async (commands) => {
    const { registry, inMemory, state } = kit({ a: 2, b: 3, c: 4, d: 5 }, 8);
    const held: Lease<string>[] = [];
    const waiting: Promise<void>[] = [];
    const check = () => {
      for (const { model } of held) assert.ok(inMemory.has(model), `${model} was taken away`);
      assert.ok(state.mostBytes <= 8, `${state.mostBytes} bytes`);
    };
    for (const step of commands) {
      if (step.kind === 'acquire') {
        const lease = registry.acquire(step.name, never);
        waiting.push(lease.then((got) => assert.equal(got.name, step.name) ?? void held.push(got)));
      } else if (step.kind === 'unload') waiting.push(registry.unload(step.name));
      else held.splice(step.index % held.length, 1)[0]?.release();
      await settle();
      check();
    }
    let open = true;
    const all = Promise.all(waiting).then(() => {
      open = false;
    });
    while (open) {
      held.shift()?.release();
      await settle();
      check();
    }
    await all;
  });
  await fc.assert(property, { numRuns: 200 });
});
