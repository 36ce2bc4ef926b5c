/**
 * A meter outside: a smart plug or a power distribution unit that answers HTTP, or a command that prints a number.
 * Asked in the background, since an answer may take long; readings are integrated here.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { configInvalid } from '../errors.js';
import type { Meter } from './types.js';

const run = promisify(execFile);
const pollMs = 1000;
const answerMsMax = 5000;
const answerBytesMax = 1 << 20;
/** A sensor that hasn't answered for so long is taken as lost. */
const silentMsMax = 30_000;

const unitJoules = { W: null, mW: null, J: 1, Wh: 3600, kWh: 3.6e6 } as const;
type Unit = keyof typeof unitJoules;

export type ExternalSpec = {
  readonly ask: { readonly kind: 'http'; readonly url: string } | { readonly kind: 'exec'; readonly command: string };
  /** Keys to the number in a JSON answer; none: the answer is the number. */
  readonly path: readonly string[];
  readonly unit: Unit;
};

/**
 * `http://plug/rpc/Switch.GetStatus?id=0#apower:W` or `exec:read-meter#W`: where to ask, then the way to the number
 * in a JSON answer and its unit (W, mW for power; J, Wh, kWh for a counter). Throws `config_invalid`.
 */
export function parseExternal(text: string): ExternalSpec {
  const hash = text.lastIndexOf('#');
  const where = hash < 0 ? text : text.slice(0, hash);
  const what = hash < 0 ? 'W' : text.slice(hash + 1);
  const colon = what.lastIndexOf(':');
  const unit = what.slice(colon + 1);
  const path = colon < 0 ? [] : what.slice(0, colon).split('.');
  if (!isUnit(unit)) throw invalid(`'${unit}' is no unit (${Object.keys(unitJoules).join(', ')})`);
  if (where.startsWith('exec:')) return { ask: { kind: 'exec', command: where.slice(5) }, path, unit };
  if (!/^https?:\/\//.test(where) || !URL.canParse(where)) {
    throw invalid(`'${where}' is no way to measure: auto, rapl, hwmon, tdp, modelled, http://…, exec:… or off`);
  }
  return { ask: { kind: 'http', url: where }, path, unit };
}

const isUnit = (text: string): text is Unit => Object.hasOwn(unitJoules, text);
const invalid = (message: string) => configInvalid('energyMeter', message);

/** The number that `path` leads to. Throws RangeError. */
export function pickNumber(answer: string, path: readonly string[]): number {
  let value: unknown = path.length === 0 ? Number(answer.trim() || 'none') : JSON.parse(answer);
  for (const key of path) {
    value = typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : null;
  }
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw new RangeError('no number ≥ 0 there');
  return value;
}

async function askMeter(ask: ExternalSpec['ask']): Promise<string> {
  if (ask.kind === 'exec') {
    const limits = { timeout: answerMsMax, maxBuffer: answerBytesMax, encoding: 'utf8' } as const;
    return (await run('/bin/sh', ['-c', ask.command], limits)).stdout;
  }
  const response = await fetch(ask.url, { signal: AbortSignal.timeout(answerMsMax), redirect: 'error' });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const bytes = await response.arrayBuffer();
  return new TextDecoder().decode(bytes.slice(0, answerBytesMax));
}

export class ExternalMeter implements Meter {
  readonly source = 'measured';
  readonly description: string;
  private readonly spec: ExternalSpec;
  private readonly now: () => number;
  private readonly timer: NodeJS.Timeout;
  private isAsking = false;
  private sum = 0;
  /** Last reading, in the meter's unit. */
  private last: number | null = null;
  private lastMs: number;
  hasNews = true;

  constructor(spec: ExternalSpec, now: () => number) {
    this.spec = spec;
    this.now = now;
    this.lastMs = now();
    this.description = `meter ${spec.ask.kind === 'http' ? new URL(spec.ask.url).host : 'command'}`;
    this.timer = setInterval(() => void this.poll(), pollMs);
    this.timer.unref();
  }

  get isLost(): boolean {
    return this.now() - this.lastMs > silentMsMax;
  }

  /** Asks once; what can't be read is asked for again later. */
  async poll(): Promise<void> {
    if (this.isAsking) return;
    this.isAsking = true;
    try {
      this.take(pickNumber(await askMeter(this.spec.ask), this.spec.path));
    } catch {
      // Silence for too long is what `isLost` tells.
    } finally {
      this.isAsking = false;
    }
  }

  private take(value: number): void {
    const nowMs = this.now();
    const { unit } = this.spec;
    const joules = unitJoules[unit];
    if (this.last !== null) {
      if (joules === null) {
        const watts = ((value + this.last) / 2) * (unit === 'mW' ? 1e-3 : 1);
        this.sum += watts * (nowMs - this.lastMs) * 1e-3;
      } else {
        this.sum += Math.max(0, value - this.last) * joules;
      }
    }
    this.last = value;
    this.lastMs = nowMs;
    this.hasNews = true;
  }

  joules(): number {
    this.hasNews = false;
    return this.sum;
  }

  close(): void {
    clearInterval(this.timer);
  }
}
