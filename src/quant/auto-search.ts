/**
 * Which format each class of each layer gets, so that little quality is lost for little memory or time. Pure.
 *
 * Losses are taken to add up (KL divergences of small, independent disturbances do), so this is a multiple-choice
 * knapsack. Its Lagrangian solutions are found exactly: every item walks down the convex hull of its choices, and the
 * steps of all items are taken in the order of loss per unit saved. Only budgets that fall between two steps, a single
 * matrix apart, could be used better.
 */
import type { LayerClass, WeightFormatName } from '../model/recipe-types.js';

export type Choice = {
  readonly format: WeightFormatName;
  /** Bytes in the file. */
  readonly bytes: number;
  /** Time for one token, ns. */
  readonly ns: number;
  /** Expected KL divergence that it adds, nats. */
  readonly kl: number;
};

export type Item = { readonly layer: number; readonly matrixClass: LayerClass; readonly choices: readonly Choice[] };

/** A point of the front: what each item takes, and the sums. */
export type Point = {
  readonly bytes: number;
  readonly ns: number;
  readonly kl: number;
  /** By item. */
  readonly picks: readonly Choice[];
};

export type Cost = 'bytes' | 'ns';

type Step = { readonly item: number; readonly to: Choice; readonly price: number };

/** Choices on the lower convex hull, from the best quality to the cheapest. */
export function hullOf(choices: readonly Choice[], cost: Cost): Choice[] {
  const byQuality = [...choices].sort((a, b) => a.kl - b.kl || a[cost] - b[cost]);
  const hull: Choice[] = [];
  const priceOf = (from: Choice, to: Choice) => (to.kl - from.kl) / (from[cost] - to[cost]);
  for (const choice of byQuality) {
    const last = hull.at(-1);
    if (last !== undefined && choice[cost] >= last[cost]) continue;
    // A choice that is dearer per unit than the one behind it is never worth a stop.
    for (;;) {
      const [before, top] = [hull.at(-2), hull.at(-1)];
      if (before === undefined || top === undefined || priceOf(before, top) < priceOf(top, choice)) break;
      hull.pop();
    }
    hull.push(choice);
  }
  return hull;
}

/** From the best quality to the cheapest; each point differs from the one before in one item. */
export function findFront(items: readonly Item[], cost: Cost): Point[] {
  const hulls = items.map(({ choices }) => hullOf(choices, cost));
  const steps = hulls.flatMap((hull, item) =>
    hull.slice(1).map((to, i): Step => {
      const from = hull[i] ?? to;
      return { item, to, price: (to.kl - from.kl) / (from[cost] - to[cost]) };
    }),
  );
  steps.sort((a, b) => a.price - b.price || a.item - b.item);
  let picks = hulls.flatMap(([best]) => best ?? []);
  const sum = (of: (choice: Choice) => number) => picks.reduce((total, choice) => total + of(choice), 0);
  const pointOf = (): Point => ({ bytes: sum((c) => c.bytes), ns: sum((c) => c.ns), kl: sum((c) => c.kl), picks });
  const front = [pointOf()];
  for (const { item, to } of steps) {
    picks = picks.with(item, to);
    front.push(pointOf());
  }
  return front;
}

/** At most `count` points spread over a front, its ends among them. */
export function sample(front: readonly Point[], count: number): Point[] {
  const places = Array.from({ length: count }, (_, i) => Math.round((i * (front.length - 1)) / Math.max(1, count - 1)));
  return [...new Set(places)].flatMap((place) => front[place] ?? []);
}
