/** Tells routers what the prefix caches of the models hold (the setting `kvEvents`). */
import { once } from 'node:events';
import { hostname } from 'node:os';
import type { EngineObserver } from '../../engine/types.js';
import { configInvalid } from '../../errors.js';
import { KV_BLOCK_TOKENS } from '../../limits.js';
import { listenFailure } from '../listen.js';
import { BlockEvents, packCleared } from './blocks.js';
import { Publisher } from './zmtp.js';

export type ModelEvents = Required<Pick<EngineObserver, 'onBlockStored' | 'onBlockRemoved'>> & { close(): void };

/** The address of `tcp://host:port`; `*` is every address of the machine. */
function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const [, host = '', port] = /^tcp:\/\/(.+):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw configInvalid('kvEvents', 'must be tcp://address:port');
  }
  return { host: host === '*' ? '0.0.0.0' : host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}

export class KvEvents {
  readonly #publisher = new Publisher();
  #sent = 0n;
  readonly host: string;

  private constructor(host: string) {
    this.host = host;
  }

  /** Throws `config_invalid`, `listen_failed`. */
  static async open(address: string): Promise<KvEvents> {
    const { host, port } = parseAddress(address);
    const events = new KvEvents(host);
    const { server } = events.#publisher;
    server.listen({ host, port });
    try {
      await once(server, 'listening');
    } catch (cause) {
      throw listenFailure(address, cause);
    }
    return events;
  }

  /** What a model's engine reports to. Changes of one turn of the event loop go out together. */
  ofModel(name: string): ModelEvents {
    const blocks = new BlockEvents(KV_BLOCK_TOKENS);
    const topic = `kv@${hostname()}@${name}`;
    let isDue = false;
    const soon = () => {
      if (isDue || blocks.isEmpty) return;
      isDue = true;
      setImmediate(() => {
        isDue = false;
        this.#send(topic, blocks.take(Date.now() / 1000));
      });
    };
    return {
      onBlockStored: (block, parent, ids) => {
        blocks.stored(block, parent, ids);
        soon();
      },
      onBlockRemoved: (block) => {
        blocks.removed(block);
        soon();
      },
      close: () => this.#send(topic, packCleared(Date.now() / 1000)),
    };
  }

  /** Topic, number of the message, payload, as vLLM's publisher sends them. */
  #send(topic: string, payload: Buffer): void {
    const number = Buffer.alloc(8);
    number.writeBigUInt64BE(this.#sent++);
    this.#publisher.send([Buffer.from(topic), number, payload]);
  }

  close(): void {
    this.#publisher.close();
  }
}
