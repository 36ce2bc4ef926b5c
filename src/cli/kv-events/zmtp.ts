/**
 * The publishing side of ZeroMQ (ZMTP 3.0, rfc.zeromq.org/spec/23): a PUB socket that SUB sockets connect to. A
 * subscriber that reads slowly loses messages, as with every PUB socket; the numbers of messages show it.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { KV_EVENT_BUFFER_BYTES_MAX, KV_EVENT_SUBSCRIBERS_MAX, KV_EVENT_TOPICS_MAX } from '../../limits.js';

const moreFlag = 1;
const longFlag = 2;
const commandFlag = 4;
const greetingBytes = 64;
/** Longest frame that a subscriber may send: it says which topics it wants, no more. */
const frameBytesMax = 1024;

function greeting(): Buffer {
  const bytes = Buffer.alloc(greetingBytes);
  // Signature, version 3.0, mechanism.
  bytes[0] = 0xff;
  bytes[9] = 0x7f;
  bytes[10] = 3;
  bytes.write('NULL', 12, 'latin1');
  return bytes;
}

export function frame(body: Buffer, flags: number): Buffer {
  if (body.length < 256) return Buffer.concat([Buffer.from([flags, body.length]), body]);
  const head = Buffer.alloc(9);
  head[0] = flags | longFlag;
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
}

function command(name: string, data: Buffer): Buffer {
  return frame(Buffer.concat([Buffer.from([name.length]), Buffer.from(name, 'latin1'), data]), commandFlag);
}

function ready(): Buffer {
  const name = 'Socket-Type';
  const data = Buffer.concat([
    Buffer.from([name.length]),
    Buffer.from(name),
    Buffer.from([0, 0, 0, 3]),
    Buffer.from('PUB'),
  ]);
  return command('READY', data);
}

/** One subscriber: what it has said, and which topics (beginnings of them) it wants. */
class Subscriber {
  readonly #socket: Socket;
  readonly #topics: Buffer[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #isGreeted = false;
  #isReady = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.write(greeting());
    socket.on('data', (bytes) => this.#read(bytes));
  }

  send(topic: Buffer, message: Buffer): void {
    const wants = this.#isReady && this.#topics.some((start) => topic.subarray(0, start.length).equals(start));
    if (wants && this.#socket.writableLength < KV_EVENT_BUFFER_BYTES_MAX) this.#socket.write(message);
  }

  #read(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    if (!this.#isGreeted) {
      if (this.#rest.length < greetingBytes) return;
      const isKnown = this.#rest[0] === 0xff && (this.#rest[10] ?? 0) >= 3;
      const mechanism = this.#rest.toString('latin1', 12, 32).replace(/\0+$/, '');
      if (!isKnown || mechanism !== 'NULL') return void this.#socket.destroy();
      this.#isGreeted = true;
      this.#rest = this.#rest.subarray(greetingBytes);
      this.#socket.write(ready());
    }
    while (this.#readFrame());
  }

  /** Takes the next frame, if it is whole. */
  #readFrame(): boolean {
    const [flags, short] = this.#rest;
    if (flags === undefined || short === undefined) return false;
    if ((flags & longFlag) !== 0 || short > frameBytesMax) {
      this.#socket.destroy();
      return false;
    }
    if (this.#rest.length < 2 + short) return false;
    const body = this.#rest.subarray(2, 2 + short);
    this.#rest = this.#rest.subarray(2 + short);
    if ((flags & commandFlag) === 0) this.#subscribe(body[0] === 1, body.subarray(1));
    else this.#obey(body);
    return true;
  }

  #obey(body: Buffer): void {
    const nameBytes = body[0] ?? 0;
    const name = body.toString('latin1', 1, 1 + nameBytes);
    const data = body.subarray(1 + nameBytes);
    if (name === 'READY') this.#isReady = true;
    else if (name === 'SUBSCRIBE' || name === 'CANCEL') this.#subscribe(name === 'SUBSCRIBE', data);
    // A time to live of two bytes, then what has to come back.
    else if (name === 'PING') this.#socket.write(command('PONG', data.subarray(2)));
    else this.#socket.destroy();
  }

  #subscribe(isWanted: boolean, topic: Buffer): void {
    const at = this.#topics.findIndex((known) => known.equals(topic));
    if (isWanted && at < 0 && this.#topics.length < KV_EVENT_TOPICS_MAX) this.#topics.push(Buffer.from(topic));
    else if (!isWanted && at >= 0) this.#topics.splice(at, 1);
  }
}

export class Publisher {
  readonly server: Server;
  readonly #subscribers = new Map<Socket, Subscriber>();

  constructor() {
    this.server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('close', () => this.#subscribers.delete(socket));
      this.#subscribers.set(socket, new Subscriber(socket));
    });
    this.server.maxConnections = KV_EVENT_SUBSCRIBERS_MAX;
  }

  get hasSubscribers(): boolean {
    return this.#subscribers.size > 0;
  }

  /** Sends a message of several parts, the first of which is its topic, to all who want it. */
  send(parts: readonly [Buffer, ...Buffer[]]): void {
    const message = Buffer.concat(parts.map((part, i) => frame(part, i + 1 < parts.length ? moreFlag : 0)));
    for (const subscriber of this.#subscribers.values()) subscriber.send(parts[0], message);
  }

  /** What was sent still arrives. */
  close(): void {
    this.server.close();
    for (const socket of this.#subscribers.keys()) socket.end();
  }
}
