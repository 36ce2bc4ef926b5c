import { ConstraintError } from '../types.js';
import { literal, oneOf, repeat, sequence } from './rules.js';

/**
 * Numbers as text within bounds. At most 15 digits before the point, so that every integer is exact as a double and
 * every text ends; with bounds at most 15 digits in all, so that comparing digits and comparing doubles agree.
 */
const DIGITS_MAX = 15;
const DIGIT = '[0-9]';

export const ANY_INTEGER = `("-"? ("0" | [1-9] [0-9]{0,${DIGITS_MAX - 1}}))`;
export const ANY_NUMBER = `("-"? ("0" | [1-9] [0-9]{0,${DIGITS_MAX - 1}}) ("." [0-9]{1,${DIGITS_MAX}})? ([eE] [-+]? [0-9]{1,2})?)`;

/** A bound; null: none on this side. */
export type Bound = { readonly value: number; readonly isExclusive: boolean } | null;

const LARGEST = 10 ** DIGITS_MAX - 1;

function checkOrder(min: number, max: number): void {
  if (min > max) throw new ConstraintError('No number lies between the lower and the upper bound.');
  if (min > LARGEST || max < -LARGEST) throw new ConstraintError(`Bounds beyond ${LARGEST} aren't supported.`);
}

const digitsFrom = (low: number, high: number): string => (low === high ? `"${low}"` : `[${low}-${high}]`);

/** Digit strings of one length from `low` to `high`; null: unbounded on that side. */
function sameLength(low: string | null, high: string | null, length: number): string {
  if (length === 0) return '""';
  if (low === null && high === null) return repeat(DIGIT, length, length);
  const from = low === null ? 0 : Number(low[0]);
  const to = high === null ? 9 : Number(high[0]);
  const lowRest = low === null ? null : low.slice(1);
  const highRest = high === null ? null : high.slice(1);
  if (low !== null && high !== null && from === to) {
    return sequence([`"${from}"`, sameLength(lowRest, highRest, length - 1)]);
  }
  const options: string[] = [];
  const first = low === null || /^0*$/.test(lowRest ?? '') ? from : from + 1;
  const last = high === null || /^9*$/.test(highRest ?? '') ? to : to - 1;
  if (first > from) options.push(sequence([`"${from}"`, sameLength(lowRest, null, length - 1)]));
  if (first <= last) options.push(sequence([digitsFrom(first, last), repeat(DIGIT, length - 1, length - 1)]));
  if (last < to) options.push(sequence([`"${to}"`, sameLength(null, highRest, length - 1)]));
  return oneOf(options);
}

/** Integers from `low` to `high` without sign, 0 ≤ low ≤ high. */
function naturals(low: number, high: number): string {
  const options: string[] = [];
  for (let length = String(low).length; length <= String(high).length; length++) {
    const from = Math.max(low, length === 1 ? 0 : 10 ** (length - 1));
    const to = Math.min(high, 10 ** length - 1);
    options.push(sameLength(String(from), String(to), length));
  }
  return oneOf(options);
}

/** Integers in the range, sign included. */
export function integerRange(min: Bound, max: Bound): string {
  const low = min === null ? -LARGEST : min.isExclusive ? Math.floor(min.value) + 1 : Math.ceil(min.value);
  const high = max === null ? LARGEST : max.isExclusive ? Math.ceil(max.value) - 1 : Math.floor(max.value);
  checkOrder(low, high);
  const [from, to] = [Math.max(low, -LARGEST), Math.min(high, LARGEST)];
  const options: string[] = [];
  if (from < 0) options.push(sequence(['"-"', naturals(Math.max(1, -to), -from)]));
  if (to >= 0) options.push(naturals(Math.max(0, from), to));
  return oneOf(options);
}

/** A magnitude as digits: the whole part, and the fraction without trailing zeros. */
type Decimal = { readonly whole: number; readonly fraction: string; readonly isExclusive: boolean };

function decimalOf(value: number, isExclusive: boolean): Decimal {
  const [mantissa = '', exponent = '0'] = String(value).split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const shift = Number(exponent);
  // Only small numbers are written with an exponent here: large ones are beyond the bounds.
  const digits = shift < 0 ? '0'.repeat(-shift - 1) + whole + fraction : fraction;
  return { whole: shift < 0 ? 0 : Number(whole), fraction: digits.replace(/0+$/, ''), isExclusive };
}

/**
 * What may follow the whole part: nothing, or a point and digits, such that the fraction is within the bounds; null if
 * nothing fits. `room`: digits left.
 */
function fractions(low: Decimal | null, high: Decimal | null, room: number): string | null {
  const mayEnd = (at: number, isLow: boolean, isHigh: boolean): boolean => {
    if (isLow && low !== null && (at < low.fraction.length || low.isExclusive)) return false;
    return !(isHigh && high !== null && at >= high.fraction.length && high.isExclusive);
  };
  const from = (at: number, isLow: boolean, isHigh: boolean): string | null => {
    if (!isLow && !isHigh) return repeat(DIGIT, 0, Math.max(0, room - at));
    const options: (string | null)[] = mayEnd(at, isLow, isHigh) ? [null] : [];
    if (at < room) {
      const next = digits(at, isLow, isHigh);
      if (next !== null) options.push(next);
    }
    return options.length === 0 ? null : oneOf(options);
  };
  const digits = (at: number, isLow: boolean, isHigh: boolean): string | null => {
    const least = isLow ? Number(low?.fraction[at] ?? 0) : 0;
    const most = isHigh ? Number(high?.fraction[at] ?? 0) : 9;
    const options: string[] = [];
    for (let digit = least; digit <= most; digit++) {
      const [staysLow, staysHigh] = [isLow && digit === least, isHigh && digit === most];
      let last = digit;
      if (!staysLow && !staysHigh) last = isHigh ? most - 1 : 9;
      const rest = from(at + 1, staysLow, staysHigh);
      if (rest !== null) options.push(sequence([digitsFrom(digit, last), rest]));
      digit = last;
    }
    return options.length === 0 ? null : oneOf(options);
  };
  const some = room > 0 ? digits(0, low !== null, high !== null) : null;
  const options = mayEnd(0, low !== null, high !== null) ? [null] : [];
  const all = some === null ? options : [...options, sequence(['"."', some])];
  return all.length === 0 ? null : oneOf(all);
}

/** Magnitudes from `low` to `high`, without sign; null if there is none. */
function magnitudes(low: Decimal, high: Decimal | null): string | null {
  const options: string[] = [];
  const room = (whole: number) => Math.max(0, DIGITS_MAX - String(whole).length);
  const at = (whole: number, from: Decimal | null, to: Decimal | null) => {
    const fraction = fractions(from, to, room(whole));
    if (fraction !== null) options.push(sequence([literal(String(whole)), fraction]));
  };
  if (high !== null && high.whole === low.whole) {
    at(low.whole, low, high);
  } else {
    at(low.whole, low, null);
    const last = high === null ? LARGEST : high.whole - 1;
    for (let whole = low.whole + 1; whole <= last; ) {
      // All of one length share the room that is left for the fraction.
      const end = Math.min(last, 10 ** String(whole).length - 1);
      options.push(sequence([naturals(whole, end), fractions(null, null, room(whole)) ?? '""']));
      whole = end + 1;
    }
    if (high !== null) at(high.whole, null, high);
  }
  return options.length === 0 ? null : oneOf(options);
}

/** Numbers in the range, sign included, without exponents. */
export function numberRange(min: Bound, max: Bound): string {
  const low = min?.value ?? Number.NEGATIVE_INFINITY;
  const high = max?.value ?? Number.POSITIVE_INFINITY;
  checkOrder(low, high);
  const lowMagnitude = (bound: Bound) => decimalOf(Math.abs(bound?.value ?? 0), bound?.isExclusive ?? false);
  const highMagnitude = (bound: Bound) =>
    bound === null || Math.abs(bound.value) > LARGEST ? null : decimalOf(Math.abs(bound.value), bound.isExclusive);
  const zero: Decimal = { whole: 0, fraction: '', isExclusive: false };
  const options: string[] = [];
  if (low < 0) {
    const negative = magnitudes(high < 0 ? lowMagnitude(max) : { ...zero, isExclusive: true }, highMagnitude(min));
    if (negative !== null) options.push(sequence(['"-"', negative]));
  }
  if (high > 0 || (high === 0 && max?.isExclusive === false)) {
    const positive = magnitudes(low >= 0 ? lowMagnitude(min) : zero, highMagnitude(max));
    if (positive !== null) options.push(positive);
  }
  if (options.length === 0) throw new ConstraintError('No number lies between the lower and the upper bound.');
  return oneOf(options);
}
