/** Points that nothing beats in several objectives at once. Pure. */

/** Objectives of many points, one column each; less is better in all. */
export type Columns = readonly Float64Array[];

function compare(columns: Columns, a: number, b: number): number {
  for (const column of columns) {
    const difference = (column[a] ?? 0) - (column[b] ?? 0);
    if (difference !== 0) return difference;
  }
  return a - b;
}

function isAtMost(columns: Columns, a: number, b: number): boolean {
  for (const column of columns) if ((column[a] ?? 0) > (column[b] ?? 0)) return false;
  return true;
}

/**
 * Indices of the front, by the first objective. Of equal points the first stands for all. In sorted order nothing later
 * beats what is earlier, so a point only has to be held against the front so far; the one that beat the last point
 * often beats the next, so it is asked first.
 */
export function paretoFront(columns: Columns): number[] {
  const count = columns[0]?.length ?? 0;
  const order = Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => compare(columns, a, b));
  const front: number[] = [];
  /** The front again, in the order in which it is asked. */
  const asked: number[] = [];
  for (const point of order) {
    const by = asked.findIndex((other) => isAtMost(columns, other, point));
    if (by < 0) {
      front.push(point);
      asked.push(point);
    } else if (by > 0) {
      const [moved, before] = [asked[by] ?? point, asked[by >> 1] ?? point];
      asked[by] = before;
      asked[by >> 1] = moved;
    }
  }
  return front;
}

/**
 * At most `most` points of a front, spread over it: objectives are cut into boxes of equal ratios, wider until few
 * enough boxes are occupied, and each keeps its first point. The best point of every objective stays.
 */
export function thinFront(columns: Columns, front: readonly number[], most: number): number[] {
  if (front.length <= most) return [...front];
  const least = (column: Float64Array) =>
    front.reduce((best, point) => ((column[point] ?? 0) < (column[best] ?? 0) ? point : best), front[0] ?? 0);
  const ends = columns.map(least);
  for (let width = 0.01; ; width *= 1.3) {
    const boxes = new Map<string, number>();
    for (const point of [...ends, ...front]) {
      const box = columns.map((column) => Math.floor(Math.log(Math.max(column[point] ?? 0, 1e-300)) / width));
      const key = box.join(' ');
      if (!boxes.has(key)) boxes.set(key, point);
    }
    const kept = new Set([...ends, ...boxes.values()]);
    if (kept.size <= Math.max(most, ends.length)) return front.filter((point) => kept.has(point));
  }
}
