import assert from 'node:assert/strict';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { complete, createFakeServer, type FakeServer, listen } from '../support/fake-server.js';

const body = (extra: object): string => JSON.stringify({ model: 'fake-model', prompt: 'hi', ...extra });

/** Waits for something that must happen soon; fails after some seconds. */
async function eventually(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 1000; tries += 1) {
    if (condition()) return;
    await sleep(5);
  }
  assert.fail(`never happened: ${what}`);
}

function post(url: string, payload: string): { request: ClientRequest; response: Promise<IncomingMessage> } {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
  const request = httpRequest(`${url}/v1/completions`, { method: 'POST', headers });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  request.end(payload);
  return { request, response };
}

async function withServer(server: FakeServer, run: (url: string) => Promise<void>): Promise<void> {
  const url = await listen(server.app);
  try {
    await run(url);
  } finally {
    server.engine.release();
    server.app.server.closeAllConnections();
    await server.app.close();
  }
}

test('a client that leaves while it waits for a whole response ends its sequences, and only its', async () => {
  const server = createFakeServer();
  server.engine.hold();
  await withServer(server, async (url) => {
    const leaving = post(url, body({ n: 3 }));
    leaving.response.catch(() => {});
    await eventually(() => server.engine.submitted.length === 3, 'first request submitted');
    const staying = post(url, body({ max_tokens: 2 }));
    await eventually(() => server.engine.submitted.length === 4, 'second request submitted');
    leaving.request.destroy();
    await eventually(() => server.engine.abortedCount === 3, 'three sequences aborted');
    assert.deepEqual(
      server.engine.signals.map((signal) => signal.aborted),
      [true, false],
    );
    server.engine.release();
    const response = await staying.response;
    assert.equal(response.statusCode, 200);
    response.resume();
    await eventually(() => server.log.some((line) => line.includes('"status":499')), 'the disconnect is logged');
  });
});

test('a client that leaves a stream ends its sequences', async () => {
  const server = createFakeServer();
  await withServer(server, async (url) => {
    const { request, response } = post(url, body({ stream: true, n: 2, max_tokens: 500 }));
    const stream = await response;
    stream.on('error', () => {});
    stream.once('data', () => {
      server.engine.hold();
      request.destroy();
    });
    await eventually(() => server.engine.signals[0]?.aborted === true, 'aborted');
    await eventually(() => server.engine.runningCount === 0, 'nothing runs');
  });
});

test('a client that leaves before the model said anything ends its stream', async () => {
  const server = createFakeServer();
  server.engine.hold();
  await withServer(server, async (url) => {
    const { request, response } = post(url, body({ stream: true }));
    const stream = await response;
    stream.on('error', () => {});
    stream.resume();
    request.destroy();
    await eventually(() => server.engine.abortedCount === 1, 'aborted');
  });
});

test('a request that ends normally is never aborted, even when its connection is used again or closed', async () => {
  const server = createFakeServer();
  await withServer(server, async (url) => {
    for (const stream of [false, true, false]) {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: body({ stream }) });
      await response.text();
    }
    server.app.server.closeAllConnections();
    await sleep(20);
    assert.equal(server.engine.signals.length, 3);
    assert.ok(server.engine.signals.every((signal) => !signal.aborted));
  });
});

test('a client that leaves while its prompt is tokenized never reaches the engine', async () => {
  const server = createFakeServer({ contextTokensMax: 100_000 });
  let finish = (): void => {};
  const tokenized = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let isEncoding = false;
  Object.assign(server.model, {
    encodeLong: async () => {
      isEncoding = true;
      await tokenized;
      return Int32Array.of(1);
    },
  });
  await withServer(server, async (url) => {
    const { request, response } = post(url, body({ prompt: 'x'.repeat(5000) }));
    response.catch(() => {});
    await eventually(() => isEncoding, 'tokenizing');
    request.destroy();
    await eventually(() => server.log.some((line) => line.includes('"status":499')), 'the disconnect is noticed');
    finish();
    await sleep(20);
    assert.equal(server.engine.submitted.length, 0);
    assert.equal((await complete(server, body({}))).status, 200);
  });
});

test('a client that stops reading holds up only itself, and is cut in the end', async () => {
  // Far more text than the socket buffers of both sides hold.
  const piece = 'x'.repeat(100);
  const server = createFakeServer({
    contextTokensMax: 1_000_000,
    stallMs: 300,
    continuation: () => piece.repeat(2000),
  });
  await withServer(server, async (url) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    const payload = body({ stream: true, max_tokens: 200_000, n: 8 });
    const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
    socket.pause();
    socket.write(`${head}content-length: ${payload.length}\r\n\r\n${payload}`);
    await eventually(() => server.engine.submitted.length === 8, 'submitted');
    assert.equal((await complete(server, body({ prompt: 'x', max_tokens: 1 }))).status, 200);
    await eventually(() => server.engine.signals[0]?.aborted === true, 'the stalled stream is cut');
    await eventually(() => server.engine.runningCount === 0, 'nothing runs');
    const said = server.log.filter((line) => line.includes('left it unread'));
    assert.equal(said.length, 1, 'the reason is logged');
    socket.destroy();
  });
});

test('bytes that are not HTTP get an error object, and the server lives', async () => {
  const server = createFakeServer();
  await withServer(server, async (url) => {
    const answers: string[] = [];
    // Of two lengths a proxy before the server may believe the other: what follows would be somebody else's request.
    const head = 'POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n';
    for (const bytes of [
      'garbage\r\n\r\n',
      'GET /health HTTP/9.9\r\n\r\n',
      `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      `${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /version HTTP/1.1\r\n\r\n`,
      `${head}content-length: 2\r\ncontent-length: 30\r\n\r\n{}GET /version HTTP/1.1\r\n\r\n`,
      `${head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /version HTTP/1.1\r\n\r\n`,
      `${head}transfer-encoding : chunked\r\n\r\n0\r\n\r\nGET /version HTTP/1.1\r\n\r\n`,
    ]) {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      socket.on('error', () => {});
      socket.write(bytes);
      let answer = '';
      for await (const chunk of socket) answer += String(chunk);
      answers.push(answer);
    }
    assert.match(answers[0] ?? '', /^HTTP\/1\.1 400 .*"code":"invalid_request"/s);
    assert.match(answers[1] ?? '', /^HTTP\/1\.1 400 /);
    assert.match(answers[2] ?? '', /^HTTP\/1\.1 431 .*"type":"invalid_request_error"/s);
    for (const answer of answers.slice(3)) assert.match(answer, /^HTTP\/1\.1 400 (?!.*HTTP\/1)/s);
    assert.equal((await fetch(`${url}/health`)).status, 200);
    // Who is slow to send, or opens connections without end, is cut off.
    const { requestTimeout, headersTimeout, maxConnections } = server.app.server;
    assert.deepEqual([requestTimeout, headersTimeout, maxConnections], [60_000, 60_000, 2048]);
  });
});
