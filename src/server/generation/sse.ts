import type { ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyReply } from 'fastify';

export type SseOptions = {
  /** Silence after which a comment is sent, ms. */
  readonly pingMs: number;
  /** How long the client may leave a full socket unread before the stream is cut, ms. */
  readonly stallMs: number;
};

/**
 * A server-sent event stream over one reply. It respects the socket: `send` waits while the client doesn't read. Sends
 * after the client has gone do nothing; the disconnect itself is noticed by `abortOnDisconnect`.
 */
export class SseStream {
  readonly #raw: ServerResponse;
  readonly #log: FastifyBaseLogger;
  readonly #stallMs: number;
  readonly #pingTimer: NodeJS.Timeout;
  #wroteSincePing = false;
  #drained: Promise<void> | null = null;

  /** Takes the reply over from Fastify and sends the head. @param trailers names of those that `end` will send */
  constructor(reply: FastifyReply, options: SseOptions, trailers: readonly string[]) {
    reply.hijack();
    this.#raw = reply.raw;
    this.#log = reply.log;
    this.#stallMs = options.stallMs;
    // A write that loses the race with a disconnect reports an error, which nobody else would handle.
    this.#raw.on('error', () => {});
    // What hooks have set: request id, permissions for browsers.
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) this.#raw.setHeader(name, value);
    }
    this.#raw.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      ...(trailers.length === 0 ? {} : { trailer: trailers.join(', ') }),
    });
    this.#raw.flushHeaders();
    this.#pingTimer = setInterval(() => this.#ping(), options.pingMs);
    this.#pingTimer.unref();
  }

  get #isOpen(): boolean {
    return !this.#raw.destroyed && !this.#raw.writableEnded && this.#raw.socket?.destroyed === false;
  }

  /** Returns what to wait for before the next one is sent; as a rule there is nothing. */
  send(data: object): Promise<void> | undefined {
    return this.#write(`data: ${JSON.stringify(data)}\n\n`);
  }

  /** Sends an event with a name. */
  sendNamed(name: string, data: object): Promise<void> | undefined {
    return this.#write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** Ends the response, after the final marker if the protocol has one, with trailers where HTTP has them. */
  async end(hasMarker: boolean, trailers: Readonly<Record<string, string>>): Promise<void> {
    clearInterval(this.#pingTimer);
    if (hasMarker) await this.#write('data: [DONE]\n\n');
    if (!this.#isOpen) return;
    this.#raw.addTrailers({ ...trailers });
    this.#raw.end();
  }

  #write(text: string): Promise<void> | undefined {
    // Several choices may wait at once; each looks again, because another's write may have filled the socket anew.
    if (this.#drained !== null) return this.#drained.then(() => this.#write(text));
    if (!this.#isOpen) return undefined;
    this.#wroteSincePing = true;
    return this.#raw.write(text) ? undefined : this.#waitForDrain();
  }

  #waitForDrain(): Promise<void> {
    this.#drained ??= new Promise((resolve) => {
      const stalled = setTimeout(() => this.#cut(), this.#stallMs);
      const done = () => {
        clearTimeout(stalled);
        this.#raw.off('drain', done);
        this.#raw.off('close', done);
        this.#drained = null;
        resolve();
      };
      this.#raw.once('drain', done);
      this.#raw.once('close', done);
    });
    return this.#drained;
  }

  /** Closes the connection, which ends the sequences as a disconnect does. */
  #cut(): void {
    this.#log.warn({ stallMs: this.#stallMs }, 'stream cut: the client left it unread');
    this.#raw.destroy();
  }

  /** A comment keeps proxies from taking a long prefill for a dead connection. */
  #ping(): void {
    if (!this.#isOpen) clearInterval(this.#pingTimer);
    else if (!this.#wroteSincePing && this.#drained === null && !this.#raw.write(': ping\n\n'))
      void this.#waitForDrain();
    this.#wroteSincePing = false;
  }
}
