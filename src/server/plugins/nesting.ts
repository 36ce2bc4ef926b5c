import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';
import { JSON_DEPTH_MAX } from '../../limits.js';

/** Whether a JSON value has more than `depth` arrays and objects within each other. */
export function isDeeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (depth === 0) return true;
  const members: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  return members.some((member) => isDeeperThan(member, depth - 1));
}

/** Refuses bodies that whoever walks through them recursively could run out of stack with. */
export function registerNesting(app: FastifyInstance): void {
  app.addHook('preValidation', async ({ body }) => {
    if (typeof body !== 'object' || body === null || Array.isArray(body)) return;
    for (const [name, value] of Object.entries(body)) {
      if (!isDeeperThan(value, JSON_DEPTH_MAX)) continue;
      const shown = name.slice(0, 64);
      const message = `'${shown}' is nested too deep; at most ${JSON_DEPTH_MAX} levels are allowed.`;
      throw new NibbleError('invalid_request', { message }, { param: shown });
    }
  });
}
