import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isOpenToAll, listen, originsOf, readTls } from '../../src/cli/listen.js';
import { type Config, loadConfig } from '../../src/config.js';
import { NibbleError } from '../../src/errors.js';
import { createFakeServer } from '../support/fake-server.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-listen-'));
after(() => rmSync(folder, { recursive: true }));

const configOf = (flags: Record<string, string>): Config => loadConfig({ port: '0', ...flags }, {});

/** The body of an answer, whatever carries it. */
function get(request: typeof httpRequest, options: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(options, (response) => {
      let text = '';
      response.on('data', (bytes) => {
        text += String(bytes);
      });
      response.on('end', () => resolve(text));
    });
    sent.on('error', reject);
    sent.end();
  });
}

test('a Unix socket, also where a killed server left one behind', async () => {
  const path = join(folder, 'nibble.sock');
  const config = configOf({ socket: path });
  // A socket file that nobody listens on: its server was ended without a chance to remove it.
  const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  assert.throws(() => execFileSync(process.execPath, ['-e', code], { stdio: 'ignore' }));
  assert.ok(existsSync(path));
  const { app } = createFakeServer();
  assert.equal(await listen(app, config), `unix:${path}`);
  assert.equal(await get(httpRequest, { socketPath: path, path: '/health' }), '{"status":"ok"}');
  await assert.rejects(listen(createFakeServer().app, config), { code: 'listen_failed' });
  await app.close();
  assert.ok(!existsSync(path));
  writeFileSync(path, 'a file');
  await assert.rejects(listen(createFakeServer().app, config), { code: 'listen_failed' });
  assert.equal(readFileSync(path, 'utf8'), 'a file');
});

test('IPv6, where the machine has it', async () => {
  const { app } = createFakeServer();
  const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));
  if (hasIpv6) {
    const url = await listen(app, configOf({ host: '::1' }));
    assert.match(url, /^http:\/\/\[::1\]:\d+$/);
    assert.equal(await (await fetch(`${url}/health`)).text(), '{"status":"ok"}');
  } else {
    await assert.rejects(listen(app, configOf({ host: '::1' })), { code: 'listen_failed' });
  }
  await app.close();
});

test('an address in use is an error that names it', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const address = other.address();
  const port = String(typeof address === 'object' ? address?.port : '');
  await assert.rejects(listen(createFakeServer().app, configOf({ port })), (error: unknown) => {
    assert.ok(error instanceof NibbleError && error.code === 'listen_failed');
    return error.message.includes(`127.0.0.1:${port}`);
  });
  other.close();
});

test('HTTPS with a certificate and its key', async () => {
  const [tlsCert, tlsKey] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const make = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', [...make, ...subject, '-keyout', tlsKey, '-out', tlsCert], { stdio: 'ignore' });
  const config = configOf({ tlsCert, tlsKey });
  const { app } = createFakeServer({ tls: readTls(config) });
  const url = new URL(await listen(app, config));
  assert.equal(url.protocol, 'https:');
  const options = { host: '127.0.0.1', port: url.port, path: '/health', ca: readFileSync(tlsCert), agent: false };
  assert.equal(await get(httpsRequest, options), '{"status":"ok"}');
  await assert.rejects(get(httpRequest, { ...options, protocol: 'http:' }));
  await app.close();

  const wrong: readonly (readonly [Partial<Config>, string])[] = [
    [{ tlsCert }, 'tlsKey'],
    [{ tlsKey }, 'tlsCert'],
    [{ tlsCert: join(folder, 'absent'), tlsKey }, 'tlsCert'],
    [{ tlsCert: tlsKey, tlsKey: tlsCert }, 'tlsCert'],
  ];
  for (const [fields, param] of wrong) {
    const files = { tlsCert: null, tlsKey: null, ...fields };
    assert.throws(
      () => readTls(files),
      (error: unknown) => error instanceof NibbleError && error.code === 'config_invalid' && error.param === param,
    );
  }
  assert.equal(readTls({ tlsCert: null, tlsKey: null }), null);
});

test('which addresses other machines can reach', () => {
  const open = (host: string) => isOpenToAll({ host, socket: null });
  assert.deepEqual(['127.0.0.1', '127.1.2.3', '::1', 'localhost'].map(open), [false, false, false, false]);
  assert.deepEqual(['0.0.0.0', '::', '192.168.1.5', 'box.example', '127.example'].map(open), [
    true,
    true,
    true,
    true,
    true,
  ]);
  assert.equal(isOpenToAll({ host: '0.0.0.0', socket: '/run/nibble.sock' }), false);
  assert.deepEqual(originsOf({ corsOrigins: ' https://a.example , https://b.example,' }), [
    'https://a.example',
    'https://b.example',
  ]);
  assert.deepEqual(originsOf({ corsOrigins: null }), []);
  assert.deepEqual(originsOf({ corsOrigins: '*' }), ['*']);
  for (const corsOrigins of ['a.example', 'https://a.example/', 'https://a.example, b.example']) {
    assert.throws(() => originsOf({ corsOrigins }), { code: 'config_invalid', param: 'corsOrigins' }, corsOrigins);
  }
});
