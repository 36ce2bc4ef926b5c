/**
 * Replicas behind a router, simulated: requests are divided as the router would, each replica serves its own. What the
 * router knows is what real ones know: how a prompt begins, and how many requests it has sent where lately.
 */
import { configInvalid } from '../../errors.js';
import { hashText } from '../../random.js';
import { LogHistogram } from '../../scheduler/log-histogram.js';
import type { Arrival, ArrivalSource, SimulationResult } from '../../scheduler/simulation.js';
import type { Policy } from './policy.js';
import { type Conditions, predict } from './predict.js';
import { syntheticSource, type TraceSpec } from './trace.js';

export const routings = ['round-robin', 'cache-aware'] as const;
export type Routing = (typeof routings)[number];

/** What a prompt is recognized by, tokens: several KV blocks, and less than any system prompt worth caching. */
const keyTokens = 64;
/** How long a request counts as load of its replica, ms: the time constant of its decay. */
const loadMs = 10_000;
/** A replica gets no more than this times the average load (bounded loads: Mirrokni et al., arXiv 1608.01350). */
const loadBound = 1.25;

/** Load of each replica as a router sees it: requests sent there, forgotten by and by. */
class Loads {
  readonly #loads: Float64Array;
  #sum = 0;
  #atMs = 0;

  constructor(count: number) {
    this.#loads = new Float64Array(count);
  }

  decayTo(nowMs: number): void {
    const left = Math.exp((this.#atMs - nowMs) / loadMs);
    for (let i = 0; i < this.#loads.length; i++) this.#loads[i] = (this.#loads[i] ?? 0) * left;
    this.#sum *= left;
    this.#atMs = nowMs;
  }

  hasRoom(replica: number): boolean {
    return (this.#loads[replica] ?? 0) < Math.ceil((loadBound * (this.#sum + 1)) / this.#loads.length);
  }

  add(replica: number): void {
    this.#loads[replica] = (this.#loads[replica] ?? 0) + 1;
    this.#sum += 1;
  }
}

/** Replicas in the order in which a prompt prefers them (highest random weight), found as they are asked for. */
function* preferred(promptIds: Int32Array, replicas: number): Generator<number> {
  const key = promptIds.subarray(0, keyTokens).join();
  const weights = Array.from({ length: replicas }, (_, replica) => ({
    replica,
    weight: hashText(`${replica}:${key}`),
  }));
  weights.sort((a, b) => b.weight - a.weight);
  for (const { replica } of weights) yield replica;
}

/** Divides requests, in order of time, among replicas. Every request goes to one of them. */
export function divide(arrivals: Iterable<Arrival>, replicas: number, routing: Routing): readonly Arrival[][] {
  const parts: Arrival[][] = Array.from({ length: replicas }, () => []);
  const loads = new Loads(replicas);
  let turn = 0;
  for (const arrival of arrivals) {
    let chosen = turn++ % replicas;
    if (routing === 'cache-aware') {
      loads.decayTo(arrival.atMs);
      for (const replica of preferred(arrival.promptIds, replicas)) {
        chosen = replica;
        if (loads.hasRoom(replica)) break;
      }
      loads.add(chosen);
    }
    parts[chosen]?.push(arrival);
  }
  return parts;
}

function listSource(arrivals: readonly Arrival[]): ArrivalSource {
  let at = 0;
  return {
    get nextMs() {
      return arrivals[at]?.atMs ?? Number.POSITIVE_INFINITY;
    },
    take: () => arrivals[at++] as Arrival,
    ended() {},
  };
}

/** Results of replicas that served at the same time, as one. */
export function mergeResults(results: readonly SimulationResult[]): SimulationResult {
  const sum = (read: (result: SimulationResult) => number) =>
    results.reduce((total, result) => total + read(result), 0);
  const [ttftMs, itlMs] = [new LogHistogram(), new LogHistogram()];
  for (const result of results) {
    ttftMs.addAll(result.ttftMs);
    itlMs.addAll(result.itlMs);
  }
  return {
    requests: sum(({ requests }) => requests),
    completed: sum(({ completed }) => completed),
    refused: sum(({ refused }) => refused),
    timedOut: sum(({ timedOut }) => timedOut),
    good: sum(({ good }) => good),
    seconds: Math.max(...results.map(({ seconds }) => seconds)),
    steps: sum(({ steps }) => steps),
    outputTokens: sum(({ outputTokens }) => outputTokens),
    prefillTokens: sum(({ prefillTokens }) => prefillTokens),
    cachedTokens: sum(({ cachedTokens }) => cachedTokens),
    preemptions: sum(({ preemptions }) => preemptions),
    ttftMs,
    itlMs,
  };
}

/**
 * What the clients of so many replicas would get. Rate and requests of the trace are those of one replica; its groups
 * are those of the whole fleet. Throws `config_invalid` for a closed loop, whose clients wait for answers.
 */
export function predictFleet(
  spec: TraceSpec,
  replicas: number,
  routing: Routing,
  policy: Policy,
  conditions: Conditions,
): SimulationResult {
  if (spec.kind === 'closed') {
    throw configInvalid('replicas', 'needs a trace of poisson:… or bursts:…');
  }
  const source = syntheticSource({ ...spec, rate: spec.rate * replicas, requests: spec.requests * replicas });
  const parts = divide(drain(source), replicas, routing);
  return mergeResults(parts.map((part) => predict(listSource(part), policy, conditions)));
}

function* drain(source: ArrivalSource): Generator<Arrival> {
  while (source.nextMs < Number.POSITIVE_INFINITY) yield source.take();
}
