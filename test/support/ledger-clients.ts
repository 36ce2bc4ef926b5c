/** Clients of every kind for a real server with a ledger, and a plug that says what the machine has used. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Random } from '../../src/random.js';
import type { RealServer } from './real-server.js';

/** A meter that answers HTTP: so many joules more each time that it is asked. It remembers what it has told. */
export class Plug {
  readonly told: number[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Plug> {
    const random = new Random(11);
    const plug: Plug = new Plug(
      createServer((_request, response) => {
        plug.told.push((plug.told.at(-1) ?? 1000) + 20 * random.uniform());
        response.end(JSON.stringify({ meter: { total: plug.told.at(-1) } }));
      }),
    );
    await new Promise<void>((resolve) => plug.#server.listen(0, '127.0.0.1', resolve));
    return plug;
  }

  /** For `--energy-meter`. */
  get setting(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/#meter.total:J`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

const beginning = 'The quick brown fox jumps over the lazy dog, and then it rests in the shade of an old oak. ';

/** Asks until told to stop: one choice or two, streamed or not, with common beginnings or without; some leave. */
export async function client(server: RealServer, number: number, goesOn: () => boolean): Promise<number> {
  const random = new Random(100 + number);
  let asked = 0;
  while (goesOn()) {
    asked += 1;
    const begin = number % 3 === 0 ? beginning : '';
    const body = {
      prompt: `${begin}${number} ${asked}: ${'word '.repeat(random.below(30))}`,
      max_tokens: 1 + random.below(12),
      n: number % 5 === 0 ? 2 : 1,
      stream: number % 2 === 0,
      user: `user-${number}`,
    };
    const leaves = number % 4 === 3 && random.below(3) === 0;
    const signal = leaves ? AbortSignal.timeout(5 + random.below(60)) : undefined;
    try {
      await (await server.post(body, signal)).text();
    } catch (error) {
      if (!leaves) throw error;
    }
  }
  return asked;
}
