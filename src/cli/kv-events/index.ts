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

type Address = { readonly host: string; readonly port: number; readonly topic: string };

/** `tcp://host:port`, `*` being every address of the machine; `?topic=…` may follow. Without one it is vLLM's: empty. */
function parseAddress(text: string): Address {
  const [, host = '', port, topic = ''] = /^tcp:\/\/([^?]+):(\d{1,5})(?:\?topic=(.*))?$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw configInvalid('kvEvents', 'must be tcp://address:port, or tcp://address:port?topic=text');
  }
  return { host: host === '*' ? '0.0.0.0' : host.replace(/^\[(.*)\]$/, '$1'), port: Number(port), topic };
}

export class KvEvents {
  readonly #publisher = new Publisher();
  #sent = 0n;
  readonly #topic: string;
  readonly host: string;

  private constructor({ host, topic }: Address) {
    this.host = host;
    this.#topic = topic;
  }

  /** Throws `config_invalid`, `listen_failed`. */
  static async open(address: string): Promise<KvEvents> {
    const parsed = parseAddress(address);
    const { host, port } = parsed;
    const events = new KvEvents(parsed);
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
    const topic = this.#topic.replaceAll('{host}', hostname()).replaceAll('{model}', name);
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
