import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RolloutCounts } from '../../src/engine/rollout-report.js';
import { Routing } from '../../src/engine/routing.js';
import { ALIASES_MAX } from '../../src/limits.js';

const keys = Array.from({ length: 4000 }, (_, i) => `user ${i}`);

/** Keys that a canary of this share gives to the candidate. */
function withCandidate(share: number): ReadonlySet<string> {
  const routing = new Routing();
  routing.set('chat', 'old');
  routing.startCanary('chat', { candidate: 'new', share, shadow: 0 });
  return new Set(keys.filter((key) => routing.resolve('chat', key).model === 'new'));
}

test('a name that is no alias means the model of that name', () => {
  const plain = { model: 'm', arm: null, fallback: null, shadow: null };
  assert.deepEqual(new Routing().resolve('m', 'k'), plain);
  const routing = new Routing();
  routing.set('chat', 'm');
  assert.deepEqual(routing.resolve('chat', 'k'), plain);
  assert.deepEqual([routing.target('chat'), routing.target('m')], ['m', 'm']);
});

test('the candidate gets its share, and whoever is with it stays when the share grows', () => {
  let smaller: ReadonlySet<string> = new Set();
  // Four standard deviations of a binomial count of 4000: at most 0.032 of it.
  for (const share of [0, 0.1, 0.5, 0.9, 1]) {
    const larger = withCandidate(share);
    assert.ok(Math.abs(larger.size / keys.length - share) <= (share % 1 === 0 ? 0 : 0.032), `${share}: ${larger.size}`);
    for (const key of smaller) assert.ok(larger.has(key));
    smaller = larger;
  }
});

test('shadows are drawn from what the baseline answers, apart from the draw of the candidate', () => {
  const routing = new Routing();
  routing.set('chat', 'old');
  routing.startCanary('chat', { candidate: 'new', share: 0.5, shadow: 0.5 });
  const choices = keys.map((key) => routing.resolve('chat', key));
  const [ours, theirs] = [
    choices.filter(({ model }) => model === 'old'),
    choices.filter(({ model }) => model === 'new'),
  ];
  assert.deepEqual(theirs[0], {
    model: 'new',
    arm: { alias: 'chat', side: 'candidate' },
    fallback: 'old',
    shadow: null,
  });
  assert.ok(ours.every(({ arm, fallback }) => arm?.side === 'baseline' && fallback === null));
  const shadowed = ours.filter(({ shadow }) => shadow === 'new').length / ours.length;
  assert.ok(Math.abs(shadowed - 0.5) < 0.045, `${shadowed}`);
});

test('promote and rollback change who answers at once, and refuse what makes no sense', () => {
  const routing = new Routing();
  routing.set('chat', 'old');
  assert.throws(() => routing.promote('chat'), { code: 'canary_missing' });
  assert.throws(() => routing.rollback('chat'), { code: 'canary_missing' });
  for (const action of ['promote', 'rollback', 'status'] as const) {
    assert.throws(() => routing[action]('none'), { code: 'alias_not_found' });
  }
  const canary = { candidate: 'new', share: 0.5, shadow: 0 };
  routing.startCanary('chat', canary);
  assert.equal(routing.aliasOf('new'), 'chat');
  routing.rollback('chat');
  assert.deepEqual(routing.status('chat'), { alias: 'chat', model: 'old', previous: null, canary: null });
  routing.startCanary('chat', canary);
  routing.promote('chat');
  assert.deepEqual(routing.status('chat'), { alias: 'chat', model: 'new', previous: 'old', canary: null });
  routing.rollback('chat');
  assert.deepEqual(routing.status('chat'), { alias: 'chat', model: 'old', previous: 'new', canary: null });
  assert.equal(routing.aliasOf('new'), null);
  routing.forget('new');
  assert.throws(() => routing.rollback('chat'), { code: 'canary_missing' });
  for (let i = 1; i < ALIASES_MAX; i++) routing.set(`alias ${i}`, 'm');
  assert.throws(() => routing.set('one more', 'm'), { code: 'aliases_full' });
  routing.set('alias 1', 'n');
});

test('whatever is done, an alias leads to a model that it was given', () => {
  const model = fc.constantFrom('a', 'b', 'c');
  const action = fc.oneof(
    model.map((name) => ({ kind: 'set' as const, name })),
    model.map((name) => ({ kind: 'canary' as const, name })),
    fc.constantFrom({ kind: 'promote' as const }, { kind: 'rollback' as const }),
  );
  const property = fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
    const routing = new Routing();
    routing.set('x', 'a');
    // What the operator would say it is: a stack of one.
    let [now, before, candidate]: [string, string | null, string | null] = ['a', null, null];
    for (const step of actions) {
      if (step.kind === 'set') {
        routing.set('x', step.name);
        if (step.name !== now) before = now;
        [now, candidate] = [step.name, null];
      } else if (step.kind === 'canary') {
        routing.startCanary('x', { candidate: step.name, share: 1, shadow: 0 });
        candidate = step.name;
      } else if (step.kind === 'promote') {
        if (candidate === null) assert.throws(() => routing.promote('x'), { code: 'canary_missing' });
        else {
          routing.promote('x');
          [now, before, candidate] = [candidate, now, null];
        }
      } else if (candidate !== null) {
        routing.rollback('x');
        candidate = null;
      } else if (before === null) assert.throws(() => routing.rollback('x'), { code: 'canary_missing' });
      else {
        routing.rollback('x');
        [now, before] = [before, now];
      }
      assert.equal(routing.target('x'), now);
      assert.equal(routing.resolve('x', 'anybody').model, candidate ?? now);
    }
  });
  fc.assert(property);
});

test('the report: percentiles by the nearest rank, agreement and perplexity by tokens', () => {
  const counts = new RolloutCounts();
  const unknown = { baseline: null, candidate: null };
  assert.equal(counts.report(unknown).quality, null);
  assert.equal(counts.report(unknown).baseline.firstTokenSeconds, null);
  for (let i = 1; i <= 20; i++) {
    counts.answered('candidate', { isError: i === 1, tokens: 2, firstTokenSeconds: i, interTokenSeconds: null });
  }
  const { candidate, baseline } = counts.report(unknown);
  assert.deepEqual([candidate.sequences, candidate.errors, candidate.tokens], [20, 1, 40]);
  assert.deepEqual(candidate.firstTokenSeconds, { p50: 10, p95: 19 });
  assert.equal(baseline.sequences, 0);
  counts.compared({ tokens: 3, agreeing: 3, baselineLogprob: -3, candidateLogprob: -6 });
  counts.compared({ tokens: 1, agreeing: 0, baselineLogprob: -1, candidateLogprob: -2 });
  counts.notCompared();
  const { quality, notCompared } = counts.report(unknown);
  assert.deepEqual([quality?.sequences, quality?.tokens, quality?.agreement, notCompared], [2, 4, 0.75, 1]);
  assert.equal(quality?.baselinePerplexity, Math.exp(1));
  assert.equal(quality?.candidatePerplexity, Math.exp(2));
  const metered = { joules: 80, source: 'measured' };
  const energies = counts.report({ baseline: metered, candidate: metered });
  assert.deepEqual(energies.candidate.energy, { ...metered, joulesPerToken: 2 });
  assert.equal(energies.baseline.energy?.joulesPerToken, null);
});
