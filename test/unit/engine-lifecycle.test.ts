import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { collect, promptOf, request, settleTurns, startKit, stopKit, submitOne } from '../support/engine-kit.js';

describe('close', () => {
  it('aborts what runs and waits, and frees the model after the last step in flight', async () => {
    const kit = startKit({ config: { sequencesMax: 1 }, native: { mode: { kind: 'manual' } } });
    const generations = kit.engine.submit(
      [request(promptOf(4, 1), 50), request(promptOf(4, 2), 50)],
      new AbortController().signal,
    );
    await settleTurns();
    const closed = kit.engine.close();
    assert.equal(kit.engine.close(), closed);
    const results = await Promise.all(generations.map(collect));
    assert.deepEqual(
      results.map(({ reason }) => reason),
      ['abort', 'abort'],
    );
    assert.equal(kit.native.isClosed, false);
    kit.native.finish();
    kit.native.finish();
    await closed;
    assert.ok(kit.native.isClosed);
    assert.deepEqual(kit.native.violations, []);
  });

  it('of an idle engine is immediate', async () => {
    await stopKit(startKit());
  });
});

describe('drain', () => {
  it('waits for sequences in line too', async () => {
    const kit = startKit({ config: { sequencesMax: 1 } });
    const generations = kit.engine.submit(
      Array.from({ length: 5 }, (_, i) => request(promptOf(4, i), 3)),
      new AbortController().signal,
    );
    await kit.engine.drain();
    const results = await Promise.all(generations.map(collect));
    assert.ok(results.every(({ reason, completionTokens }) => reason === 'length' && completionTokens === 3));
    await stopKit(kit);
  });
});

describe('an idle engine', () => {
  it('keeps nothing alive: a process with nothing else to do ends without closing it', () => {
    const kitUrl = new URL('../support/engine-kit.ts', import.meta.url).href;
    const script = `
      const kit = await import(${JSON.stringify(kitUrl)});
      const started = kit.startKit();
      const result = await kit.collect(kit.submitOne(started.engine, kit.request([1, 2], 3)));
      console.log(result.completionTokens);
    `;
    const child = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      encoding: 'utf8',
      timeout: 30_000,
    });
    assert.equal(child.stdout.trim(), '3', child.stderr);
    assert.equal(child.status, 0, 'it ended by itself');
  });

  it('runs no step and no turn', async () => {
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'Immediate').length;
    // The test runner may have timers of its own.
    const before = timers();
    const kit = startKit();
    await collect(submitOne(kit.engine, request(promptOf(4, 1), 3)));
    const ran = kit.native.stepTokens.length;
    await settleTurns(5);
    assert.equal(kit.native.stepTokens.length, ran);
    assert.ok(timers() <= before);
    await stopKit(kit);
  });
});
