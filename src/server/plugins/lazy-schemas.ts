/**
 * Compiling the schemas of requests took a quarter of the time from the start to the first answer to `/health`; so each
 * waits for its first request, or for `compileAll`, whichever comes sooner.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

declare module 'fastify' {
  interface FastifyInstance {
    /** Compiles the schemas of requests that none has needed yet. */
    compileSchemas(): Promise<void>;
  }
}

/** What Ajv makes of a schema: tells whether data fit, and leaves what is wrong with them. */
type Validator = { (data: unknown): unknown; errors?: unknown };

export class LazySchemas {
  readonly #waiting: (() => void)[] = [];

  /** Makes `compile` of an Ajv return at once; a mistake in a schema then shows when it is compiled. */
  attach(ajv: { compile: unknown }): void {
    const compile = (ajv.compile as (schema: unknown) => Validator).bind(ajv);
    ajv.compile = (schema: unknown): Validator => {
      let compiled: Validator | null = null;
      const validate: Validator = (data) => {
        compiled ??= compile(schema);
        const answer = compiled(data);
        validate.errors = compiled.errors;
        return answer;
      };
      this.#waiting.push(() => {
        compiled ??= compile(schema);
      });
      return validate;
    };
  }

  /** Compiles what hasn't been needed yet, one schema in each turn of the event loop. */
  async compileAll(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await nextTurn();
      next();
    }
  }
}
