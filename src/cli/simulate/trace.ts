/** Requests for `nibble simulate`: made from a few numbers, or read from a file. Seeded: the same on every machine. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import { configInvalid, NibbleError, reasonOf } from '../../errors.js';
import { Random } from '../../random.js';
import type { Arrival, ArrivalSource } from '../../scheduler/simulation.js';
import { readJsonLine } from '../json-lines.js';

const defaults = {
  /** Requests a second, on average. */
  rate: 10,
  requests: 1000,
  /** Closed loop: clients that each send a request when the one before has ended. */
  clients: 16,
  /** Mean time from the end of an answer to the client's next request, ms, exponential. */
  think: 0,
  /** Lengths in tokens: medians, and the spread of their logarithm (0: all alike; 1: a heavy tail). */
  prompt: 128,
  output: 64,
  spread: 0,
  /** Tokens that all prompts of a group begin with, and how many groups there are, each asked for equally often. */
  shared: 0,
  groups: 1,
  tenants: 1,
  /** Requests that arrive together. */
  burst: 1,
  seed: 1,
};
export type TraceNumbers = typeof defaults;
export type TraceSpec = { readonly kind: 'poisson' | 'bursts' | 'closed' } & TraceNumbers;

/** Requests of a burst, if not set otherwise. */
const burstDefault = 16;

/** Longest length that is made: a heavy tail has no end. */
const tokensMax = 100_000;

/** Reads `poisson:rate=20,requests=1000` and the like; null if the text begins with no known kind. */
export function parseTraceSpec(text: string): TraceSpec | null {
  const [, kind, list = ''] = /^(poisson|bursts|closed)(?::(.*))?$/.exec(text) ?? [];
  if (kind === undefined) return null;
  const numbers = { ...defaults, burst: kind === 'bursts' ? burstDefault : defaults.burst };
  for (const item of list.split(',').filter((part) => part !== '')) {
    const [, name = '', value = ''] = /^([a-z]+)=(\d+(?:\.\d+)?)$/.exec(item) ?? [];
    if (!isTraceNumber(name)) {
      const message = `'${item}' is not of the form name=number with one of: ${Object.keys(numbers).join(', ')}`;
      throw configInvalid('trace', message);
    }
    numbers[name] = Number(value);
  }
  for (const name of ['rate', 'clients', 'prompt', 'output', 'groups', 'tenants', 'burst'] as const) {
    const isCount = name !== 'rate';
    if (numbers[name] <= 0 || (isCount && !Number.isInteger(numbers[name]))) {
      const message = `${name} must be ${isCount ? 'an integer of at least 1' : 'more than 0'}`;
      throw configInvalid('trace', message);
    }
  }
  return { kind: kind as TraceSpec['kind'], ...numbers };
}

function isTraceNumber(name: string): name is keyof TraceNumbers {
  return Object.hasOwn(defaults, name);
}

/** Ids that no other prompt has, but for the first `shared`, which every prompt of `group` has. */
function promptOf(tokens: number, shared: number, group: number, own: number): Int32Array {
  const ids = new Int32Array(tokens).fill(own + 0x4000_0000);
  ids.fill(group, 0, Math.min(shared, tokens));
  return ids;
}

/** Arrivals made as they are asked for, so that millions need no memory. */
export function syntheticSource(spec: TraceSpec): ArrivalSource {
  const random = new Random(spec.seed);
  const length = (median: number): number =>
    Math.min(tokensMax, Math.max(1, Math.round(median * Math.exp(spec.spread * random.normal()))));
  const gapMs = (): number => (-Math.log(1 - random.uniform()) * 1000 * spec.burst) / spec.rate;
  const groupOf = (): number => (spec.groups === 1 ? 0 : random.below(spec.groups));
  let taken = 0;
  let nextMs = 0;
  /** Closed loop: when clients are free again, in order. */
  const free: number[] = Array.from({ length: Math.min(spec.clients, spec.requests) }, () => 0);
  let freeAt = 0;
  return {
    get nextMs() {
      if (taken >= spec.requests) return Number.POSITIVE_INFINITY;
      return spec.kind === 'closed' ? (free[freeAt] ?? Number.POSITIVE_INFINITY) : nextMs;
    },
    take(): Arrival {
      const atMs = spec.kind === 'closed' ? (free[freeAt++] ?? 0) : nextMs;
      taken++;
      if (taken % spec.burst === 0) nextMs += gapMs();
      return {
        atMs,
        promptIds: promptOf(spec.shared + length(spec.prompt), spec.shared, groupOf(), taken),
        outputTokens: length(spec.output),
        tenant: `t${random.below(spec.tenants)}`,
        priority: 0,
      };
    },
    ended(nowMs) {
      if (spec.kind !== 'closed') return;
      const nextAtMs = nowMs - Math.log(1 - random.uniform()) * spec.think;
      let at = free.length;
      while (at > freeAt && (free[at - 1] ?? 0) > nextAtMs) at--;
      free.splice(at, 0, nextAtMs);
      // What was taken is dropped now and then: millions need no memory.
      if (freeAt < 4096) return;
      free.splice(0, freeAt);
      freeAt = 0;
    },
  };
}

const tokenCount = Type.Integer({ minimum: 1, maximum: tokensMax });
const Line = Type.Object({
  /** Seconds from the start. */
  t: Type.Number({ minimum: 0 }),
  prompt: tokenCount,
  output: tokenCount,
  /** Prompts of a group have their first `shared` tokens in common. */
  group: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x3fff_ffff })),
  shared: Type.Optional(Type.Integer({ minimum: 0 })),
  tenant: Type.Optional(Type.String({ maxLength: 128 })),
  priority: Type.Optional(Type.Integer({ minimum: -100, maximum: 100 })),
});

export type Line = Static<typeof Line>;

/** Reads a trace of JSON lines, in order of time; throws `data_unreadable` or `data_invalid` with the line. */
export async function readTrace(path: string): Promise<readonly Line[]> {
  const lines: Line[] = [];
  let number = 0;
  try {
    for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (text.trim() !== '') lines.push(readLine(text, path, number));
    }
  } catch (cause) {
    if (cause instanceof NibbleError) throw cause;
    const message = reasonOf(cause);
    throw new NibbleError('data_unreadable', { path, message }, { cause });
  }
  return lines.sort((a, b) => a.t - b.t);
}

/** The requests of a trace, each at its time. */
export function recordedSource(lines: readonly Line[]): ArrivalSource {
  let at = 0;
  return {
    get nextMs() {
      return (lines[at]?.t ?? Number.POSITIVE_INFINITY) * 1000;
    },
    take(): Arrival {
      const { t, prompt, output, group = 0, shared = 0, tenant = '', priority = 0 } = lines[at++] as Line;
      return { atMs: t * 1000, promptIds: promptOf(prompt, shared, group, at), outputTokens: output, tenant, priority };
    },
    ended() {},
  };
}

function readLine(text: string, path: string, line: number): Line {
  const { fields, fail } = readJsonLine(text, path, line, 'trace');
  if (Value.Check(Line, fields)) return fields;
  const [first] = Value.Errors(Line, fields);
  throw fail(`${first?.instancePath ?? ''} ${first?.message ?? 'has another form'}`.trim());
}

/** Sources of the same requests, as many as are asked for; `text` is numbers or the path of a file. */
export async function openTrace(text: string): Promise<() => ArrivalSource> {
  const spec = parseTraceSpec(text);
  if (spec !== null) return () => syntheticSource(spec);
  const lines = await readTrace(text);
  return () => recordedSource(lines);
}
