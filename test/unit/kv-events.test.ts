/** Events of the prefix cache: which blocks are told, and what strangers on the socket can do. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { BlockEvents, packCleared } from '../../src/cli/kv-events/blocks.js';
import { KvEvents } from '../../src/cli/kv-events/index.js';
import { packArray, packFloat, packMap, packText, packUnsigned } from '../../src/cli/kv-events/msgpack.js';
import { frame, Publisher } from '../../src/cli/kv-events/zmtp.js';
import { PrefixIndex } from '../../src/scheduler/prefix-index.js';

const hex = (bytes: Buffer) => bytes.toString('hex');

test('MessagePack: the examples of its specification', () => {
  assert.deepEqual(
    [0n, 127n, 128n, 255n, 256n, 65_535n, 65_536n, 4_294_967_295n, 4_294_967_296n, 2n ** 64n - 1n].map((value) =>
      hex(packUnsigned(value)),
    ),
    [
      ...['00', '7f', 'cc80', 'ccff', 'cd0100', 'cdffff', 'ce00010000', 'ceffffffff'],
      ...['cf0000000100000000', 'cfffffffffffffffff'],
    ],
  );
  assert.equal(hex(packFloat(1.5)), 'cb3ff8000000000000');
  assert.equal(hex(packText('a')), 'a161');
  assert.equal(hex(packText('x'.repeat(40))).slice(0, 6), 'd92878');
  assert.equal(hex(packArray([packUnsigned(1n)])), '9101');
  assert.equal(hex(packArray(new Array(16).fill(packUnsigned(1n)))).slice(0, 12), 'dd0000001001');
  assert.equal(
    hex(packMap({ compact: Buffer.of(0xc3), schema: packUnsigned(0n) })),
    '82a7636f6d70616374c3a6736368656d6100',
  );
  const cleared = `93${hex(packFloat(0))}9181${hex(packText('type'))}${hex(packText('AllBlocksCleared'))}00`;
  assert.equal(hex(packCleared(0)), cleared);
});

test('the index tells of blocks when they are ready, and when those go', () => {
  const index = new PrefixIndex(8, 2);
  const told: unknown[] = [];
  index.watcher = {
    stored: (block, parent, ids) => told.push(['stored', block, parent, [...ids]]),
    removed: (block) => told.push(['removed', block]),
  };
  const ids = Int32Array.of(5, 6, 7, 8);
  index.insert(3, -1, ids, 0);
  index.insert(4, 3, ids, 2);
  assert.deepEqual(told, []);
  index.makeReady(3);
  // One that never became ready isn't missed.
  index.remove(4);
  index.remove(3);
  assert.deepEqual(told, [
    ['stored', 3, -1, [5, 6]],
    ['removed', 3],
  ]);
});

test('trees of pruned prompts are not told, nor what continues or leaves them', () => {
  const events = new BlockEvents(2);
  events.stored(1, -2, Int32Array.of(1, 2));
  events.stored(2, 1, Int32Array.of(3, 4));
  events.removed(2);
  assert.ok(events.isEmpty);
  events.stored(3, -1, Int32Array.of(1, 2));
  assert.ok(!events.isEmpty);
});

test('who does not speak the protocol, or says too much, is cut off; the others stay', async () => {
  const publisher = new Publisher();
  publisher.server.listen(0, '127.0.0.1');
  await once(publisher.server, 'listening');
  const { port } = publisher.server.address() as AddressInfo;
  const greetingOf = (mechanism: string) => {
    const bytes = Buffer.alloc(64);
    bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3], 0);
    bytes.write(mechanism, 12);
    return bytes;
  };
  const greeting = greetingOf('NULL');
  const ready = frame(Buffer.from('\x05READY'), 4);
  const good = connect(port, '127.0.0.1');
  const got: Buffer[] = [];
  good.on('data', (bytes) => got.push(bytes));
  good.write(Buffer.concat([greeting, ready, frame(Buffer.from('\x01a'), 0)]));
  for (const bad of [
    Buffer.alloc(64, 'GET / HTTP/1.1\r\n'),
    Buffer.concat([greetingOf('PLAIN'), ready]),
    Buffer.concat([greeting, frame(Buffer.alloc(300), 0)]),
    Buffer.concat([greeting, frame(Buffer.from('\x05WRONG'), 4)]),
  ]) {
    const stranger = connect(port, '127.0.0.1');
    stranger.on('error', () => undefined).resume();
    stranger.write(bad);
    await once(stranger, 'close');
  }
  const before = Buffer.concat(got).length;
  publisher.send([Buffer.from('b'), Buffer.from('not wanted')]);
  publisher.send([Buffer.from('abc'), Buffer.alloc(300, 'x')]);
  while (Buffer.concat(got).length < before + 5 + 9 + 300) await once(good, 'data');
  // A short frame with more to come, then a long last one.
  const message = Buffer.concat(got).subarray(before);
  assert.equal(hex(message.subarray(0, 14)), '010361626302000000000000012c');
  publisher.close();
  await once(good, 'close');
});

test('an address that is none, or is taken, is said plainly', async () => {
  for (const address of ['5557', 'tcp://x', 'tcp://127.0.0.1:70000', 'udp://127.0.0.1:1', 'tcp://127.0.0.1:1?x=1']) {
    await assert.rejects(KvEvents.open(address), { code: 'config_invalid' });
  }
  const publisher = new Publisher();
  publisher.server.listen(0, '127.0.0.1');
  await once(publisher.server, 'listening');
  const { port } = publisher.server.address() as AddressInfo;
  await assert.rejects(KvEvents.open(`tcp://127.0.0.1:${port}`), { code: 'listen_failed' });
  publisher.close();
});
