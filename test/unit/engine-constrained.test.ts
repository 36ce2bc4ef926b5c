/** Constrained sequences in the engine: masks in time or late, alone or among others, preempted, ended, aborted. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { greedy } from '../../src/engine/greedy.js';
import type { GenerationRequest } from '../../src/engine/types.js';
import { NibbleError } from '../../src/errors.js';
import type { ConstraintEngine, MatcherEvents } from '../../src/grammar/grammar-engine.js';
import { createSharedMask, maskAt, writeMask } from '../../src/grammar/shared-mask.js';
import type { Constraint } from '../../src/grammar/types.js';
import { Random } from '../../src/random.js';
import { collect, promptOf, request, startKit, stopKit, submitOne } from '../support/engine-kit.js';
import { allows } from '../support/fake-native.js';
import { fakeToken } from '../support/fake-text.js';

const anything: Constraint = { kind: 'json_object' };

/** Which tokens may follow: depends on all tokens so far, so that a mask of another position or text shows. */
function maskAfter(tokens: readonly number[]): Int32Array {
  const random = new Random(tokens.reduce((sum, token) => (sum * 31 + token + 1) % 65_521, 7));
  const mask = new Int32Array(8);
  for (let i = 0; i < 4; i++) {
    const id = random.below(256);
    mask[id >> 5] = (mask[id >> 5] as number) | (1 << (id & 31));
  }
  return mask;
}

type Fake = ConstraintEngine & { opened: number; closed: number };

/** Answers after as many turns of the event loop as `turns` says; finished after `length` tokens. */
function fakeConstraints(
  turns: () => number,
  length = Number.POSITIVE_INFINITY,
  spoil: (events: MatcherEvents, position: number) => boolean = () => false,
): Fake {
  const engine: Fake = {
    opened: 0,
    closed: 0,
    compile: () => Promise.resolve(),
    open: (_constraint, _endsFrom, events) => {
      engine.opened++;
      const tokens: number[] = [];
      const mask = createSharedMask(256);
      let isOpen = true;
      let isAsked = false;
      const answer = (left: number): void => {
        if (left > 0) return void setImmediate(() => answer(left - 1));
        if (!isOpen || spoil(events, tokens.length)) return;
        if (tokens.length >= length) {
          events.onFinished();
          return;
        }
        writeMask(mask, tokens.length, maskAfter(tokens));
        if (isAsked) events.onMask();
        isAsked = false;
      };
      const later = () => setImmediate(() => answer(turns()));
      later();
      return {
        mask,
        ask: () => {
          if (maskAt(mask, tokens.length) === null) isAsked = true;
          else events.onMask();
        },
        accept: (token) => {
          assert.ok(allows(maskAfter(tokens), token), `token ${token} is allowed at ${tokens.length}`);
          tokens.push(token);
          later();
        },
        close: () => {
          assert.ok(isOpen, 'closed once');
          isOpen = false;
          engine.closed++;
        },
      };
    },
  };
  return engine;
}

/** The fake model's own continuation under the masks, without engine, batch or cache. */
function expectedIds(one: GenerationRequest, length = one.maxTokens): number[] {
  const history = Array.from(one.promptIds);
  const sampled: number[] = [];
  const sampling = { ...one.sampling, promptIds: one.promptIds, generatedIds: new Int32Array(0) };
  for (let i = 0; i < Math.min(length, one.maxTokens); i++) {
    let token = fakeToken(history, sampling, 256);
    const mask = one.constraint === undefined ? null : maskAfter(sampled);
    while (mask !== null && !allows(mask, token)) token = (token + 1) % 256;
    history.push(token);
    sampled.push(token);
  }
  return sampled;
}

const requests = [
  request(promptOf(1, 1), 20, { constraint: anything }),
  request(promptOf(15, 2), 33),
  request(promptOf(16, 3), 7, { constraint: anything }),
  request(promptOf(48, 3), 40, { constraint: anything, sampling: { ...greedy, temperature: 1, seed: 7n, choice: 0 } }),
  request(promptOf(48, 3), 40, { constraint: anything, sampling: { ...greedy, temperature: 1, seed: 7n, choice: 1 } }),
  request(promptOf(130, 5), 17),
  request(promptOf(100, 6), 9, { constraint: anything, logprobs: 0, scorePrompt: true }),
];

const random = new Random(3);
const paces: Readonly<Record<string, () => number>> = {
  'at once': () => 0,
  late: () => 5,
  'now in time, now late': () => random.below(6),
};

describe('constrained sequences get the tokens that their masks leave', () => {
  for (const [pace, turns] of Object.entries(paces)) {
    for (const lookAheadTokensMax of [0, 8, 512]) {
      it(`masks ${pace}, looking ahead over ${lookAheadTokensMax} tokens`, async () => {
        const constraints = fakeConstraints(turns);
        const config = { lookAheadTokensMax, stepTokensMax: 37, sequencesMax: 5 };
        const native = { stepTokensMax: 37, mode: { kind: 'auto', turns: 1 } } as const;
        const kit = startKit({ constraints, config, native });
        const results = await Promise.all(kit.engine.submit(requests, new AbortController().signal).map(collect));
        assert.deepEqual(
          results.map(({ tokenIds }) => tokenIds),
          requests.map((one) => expectedIds(one)),
        );
        assert.ok(results.every(({ reason }) => reason === 'length'));
        assert.deepEqual([constraints.opened, constraints.closed], [5, 5]);
        assert.equal(results[6]?.prompt?.length, 100);
        await stopKit(kit);
      });
    }
  }

  it('when the cache is too small for all of them at once', async () => {
    const constraints = fakeConstraints(() => random.below(4));
    // 64 blocks hold 1,024 tokens; the sequences come to more when they have grown.
    const many = Array.from({ length: 12 }, (_, i) => request(promptOf(60, i), 90, { constraint: anything }));
    const kit = startKit({
      constraints,
      config: { kvBlockCount: 64 },
      native: { mode: { kind: 'auto', turns: 1 } },
    });
    const results = await Promise.all(kit.engine.submit(many, new AbortController().signal).map(collect));
    assert.deepEqual(
      results.map(({ tokenIds }) => tokenIds),
      many.map((one) => expectedIds(one)),
    );
    assert.ok(kit.engine.gauges().preemptions > 0, 'some had to give their blocks back');
    assert.deepEqual([constraints.opened, constraints.closed], [12, 12]);
    await stopKit(kit);
  });
});

it('a constraint that is fulfilled ends its sequence', async () => {
  for (const turns of [0, 4]) {
    const kit = startKit({
      constraints: fakeConstraints(() => turns, 5),
      native: { mode: { kind: 'auto', turns: 1 } },
    });
    const one = request(promptOf(20, 1), 50, { constraint: anything, ignoreEos: true });
    const [result, free] = await Promise.all(
      [one, request(promptOf(9, 1), 50)].map((r) => collect(submitOne(kit.engine, r))),
    );
    assert.equal(result?.reason, 'stop');
    assert.deepEqual(result?.tokenIds, expectedIds(one, 5));
    assert.equal(free?.tokenIds.length, 50);
    await stopKit(kit);
  }
});

it('a constraint that fails, fails its own sequence', async () => {
  const spoil = (events: MatcherEvents, position: number) => {
    if (position === 3) events.onError(new NibbleError('constraint_too_complex', { message: 'too much' }));
    return position === 3;
  };
  const kit = startKit({ constraints: fakeConstraints(() => 2, 50, spoil) });
  const free = collect(submitOne(kit.engine, request(promptOf(9, 1), 30)));
  const bad = collect(submitOne(kit.engine, request(promptOf(9, 2), 30, { constraint: anything })));
  await assert.rejects(bad, { code: 'constraint_too_complex' });
  assert.equal((await free).tokenIds.length, 30);
  await stopKit(kit);
});

it('an aborted sequence closes its matcher, even while it waits for a mask that never comes', async () => {
  const constraints = fakeConstraints(
    () => 0,
    50,
    (_events, position) => position === 0,
  );
  const kit = startKit({ constraints });
  const controller = new AbortController();
  const generation = collect(
    submitOne(kit.engine, request(promptOf(9, 2), 30, { constraint: anything }), controller.signal),
  );
  // Others go on meanwhile.
  assert.equal((await collect(submitOne(kit.engine, request(promptOf(9, 1), 30)))).tokenIds.length, 30);
  controller.abort();
  const { reason, tokenIds } = await generation;
  assert.deepEqual([reason, tokenIds.length], ['abort', 0]);
  assert.deepEqual([constraints.opened, constraints.closed], [1, 1]);
  await stopKit(kit);
});
