import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { downloadFromHub, hubUrl } from '../../src/model/sources/hub.js';
import type { KnownModel } from '../../src/model/sources/registry.js';
import { locateModel, type ResolveOptions } from '../../src/model/sources/resolve.js';
import { Random } from '../../src/random.js';
import { type HubBehaviour, type HubServer, sha256, startHubServer } from '../support/hub-server.js';

const random = new Random(3);
const content = Buffer.from(Array.from({ length: 300_000 }, () => random.below(256)));
const reference = 'hf:owner/repo/file.gguf';

let home = '';
let root = '';
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'nibble-hub-'));
});
after(() => rm(root, { recursive: true }));
beforeEach(async () => {
  home = await mkdtemp(join(root, 'home-'));
});

const known: KnownModel = {
  name: 'tiny',
  aliases: [],
  description: '',
  licence: '',
  fileName: 'tiny.gguf',
  bytes: content.length,
  sha256: sha256(content),
  pip: null,
  hub: { repository: 'owner/repo', revision: 'main', file: 'tiny.gguf' },
};

async function withHub<T>(behaviours: readonly HubBehaviour[], use: (hub: HubServer) => Promise<T>): Promise<T> {
  const hub = await startHubServer(content, behaviours);
  try {
    return await use(hub);
  } finally {
    await hub.close();
  }
}

const options = (hub: HubServer, more: Partial<ResolveOptions> & { readonly token?: string } = {}): ResolveOptions => ({
  home,
  environment: { HF_ENDPOINT: hub.origin, ...(more.token === undefined ? {} : { HF_TOKEN: more.token }) },
  registry: [known],
  retryDelayMs: 1,
  ...more,
});

const serve: HubBehaviour = { kind: 'serve' };

test('a hub file is downloaded, verified by the announced sha256, then found in the cache, offline too', async () => {
  await withHub([{ kind: 'serve', headers: { 'x-linked-etag': `"${sha256(content)}"` } }], async (hub) => {
    const progress: number[] = [];
    const onProgress = (event: { receivedBytes: number }) => void progress.push(event.receivedBytes);
    const model = await locateModel(reference, options(hub, { onProgress }));
    assert.deepEqual(await readFile(model.path), content);
    assert.equal(model.path, join(home, 'models', 'hub', 'owner', 'repo', 'file.gguf'));
    assert.equal(model.source, 'hub');
    assert.equal(model.sha256, sha256(content));
    assert.equal(hub.requests[0]?.url, '/owner/repo/resolve/main/file.gguf');
    assert.equal(progress.at(-1), content.length);
    const again = await locateModel(reference, options(hub, { offline: true }));
    assert.deepEqual({ ...again, source: 'hub' }, model);
    assert.equal(again.source, 'cache');
    assert.equal(hub.requests.length, 1);
    assert.deepEqual((await readdir(dirname(model.path))).sort(), ['file.gguf', 'file.gguf.json']);
  });
});

test('a cut connection is resumed where it ended', async () => {
  await withHub([{ kind: 'cut', afterBytes: 100_000 }, { kind: 'cut', afterBytes: 50_000 }, serve], async (hub) => {
    const model = await locateModel('tiny', options(hub));
    assert.deepEqual(await readFile(model.path), content);
    const ranges = hub.requests.map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0));
    assert.equal(ranges.length, 3);
    assert.ok((ranges[1] ?? 0) > 0 && (ranges[2] ?? 0) > (ranges[1] ?? 0), String(ranges));
  });
});

const part = () => join(home, 'models', 'tiny.gguf.part');
async function leavePart(bytes: Buffer): Promise<void> {
  await mkdir(dirname(part()), { recursive: true });
  await writeFile(part(), bytes);
}

test('the part of an earlier process is resumed', async () => {
  await withHub([serve], async (hub) => {
    await leavePart(content.subarray(0, 123_456));
    await locateModel('tiny', options(hub));
    assert.deepEqual(
      hub.requests.map(({ range }) => range),
      ['bytes=123456-'],
    );
  });
});

test('a part that belongs to another file, or is too long, is downloaded anew', async () => {
  for (const bytes of [Buffer.alloc(1000, 7), Buffer.alloc(content.length + 5, 7)]) {
    await withHub([serve], async (hub) => {
      await leavePart(bytes);
      const model = await locateModel('tiny', options(hub));
      assert.deepEqual(await readFile(model.path), content);
      assert.deepEqual(
        hub.requests.map(({ range }) => range),
        [`bytes=${bytes.length}-`, undefined],
      );
    });
    await rm(join(home, 'models'), { recursive: true });
  }
});

test('a complete part needs no request; a server without ranges, or with the wrong one, starts over', async () => {
  await withHub([serve], async (hub) => {
    await leavePart(content);
    await locateModel('tiny', options(hub));
    assert.equal(hub.requests.length, 0);
  });
  for (const first of [{ kind: 'serve', ignoreRange: true }, { kind: 'wrong-range' }] as const) {
    await rm(join(home, 'models'), { recursive: true });
    await withHub([first, serve], async (hub) => {
      await leavePart(content.subarray(0, 1000));
      assert.deepEqual(await readFile((await locateModel('tiny', options(hub))).path), content);
    });
  }
});

test('a wrong checksum is refused, and nothing of it is kept', async () => {
  const wrong = { ...known, sha256: '0'.repeat(64) };
  await withHub([serve], async (hub) => {
    await assert.rejects(locateModel('tiny', options(hub, { registry: [wrong] })), { code: 'model_checksum_mismatch' });
    assert.deepEqual(await readdir(join(home, 'models')), []);
  });
  await withHub([{ kind: 'serve', headers: { etag: `"${'1'.repeat(64)}"` } }], async (hub) => {
    await assert.rejects(locateModel(reference, options(hub)), { code: 'model_checksum_mismatch' });
  });
});

test('a file of another size is refused before it is downloaded', async () => {
  await withHub([serve], async (hub) => {
    const longer = { ...known, bytes: content.length + 1 };
    await assert.rejects(locateModel('tiny', options(hub, { registry: [longer] })), {
      code: 'model_download_failed',
      message: /300000 bytes, expected were 300001/,
    });
  });
});

for (const [status, message] of [
  [401, /denies access \(HTTP 401\); set HF_TOKEN/],
  [403, /denies access \(HTTP 403\)/],
  [404, /no such file/],
  [418, /HTTP 418/],
] as const) {
  test(`HTTP ${status} is final`, async () => {
    await withHub([{ kind: 'status', status }], async (hub) => {
      await assert.rejects(locateModel('tiny', options(hub)), { code: 'model_download_failed', message });
      assert.equal(hub.requests.length, 1);
    });
  });
}

test('temporary refusals are retried, but not for ever; Retry-After is honoured', async () => {
  const busy = (status: number): HubBehaviour => ({ kind: 'status', status });
  await withHub([busy(429), busy(503), busy(500), serve], async (hub) => {
    await locateModel('tiny', options(hub));
    assert.equal(hub.requests.length, 4);
  });
  await rm(join(home, 'models'), { recursive: true });
  await withHub([busy(503)], async (hub) => {
    await assert.rejects(locateModel('tiny', options(hub)), { code: 'model_download_failed', message: /HTTP 503/ });
    assert.equal(hub.requests.length, 5);
  });
  await withHub([{ kind: 'status', status: 429, headers: { 'retry-after': '1' } }, serve], async (hub) => {
    const start = performance.now();
    await locateModel('tiny', options(hub));
    assert.ok(performance.now() - start >= 990);
  });
});

test('the token goes to the hub and not to the host that it redirects to', async () => {
  await withHub([serve], async (storage) => {
    const redirect: HubBehaviour = {
      kind: 'redirect',
      to: `${storage.origin}/blob?signature=1`,
      headers: { 'x-linked-etag': `"${sha256(content)}"`, 'x-linked-size': String(content.length) },
    };
    await withHub([redirect], async (hub) => {
      const model = await locateModel(reference, options(hub, { token: 'hf_secret' }));
      assert.equal(model.sha256, sha256(content));
      assert.equal(hub.requests[0]?.authorization, 'Bearer hf_secret');
      assert.equal(storage.requests[0]?.authorization, undefined);
      assert.equal(storage.requests[0]?.url, '/blob?signature=1');
    });
    const wrongSize = { ...redirect, headers: { 'x-linked-size': '5' } };
    await withHub([wrongSize], async (hub) => {
      await rm(join(home, 'models'), { recursive: true });
      await assert.rejects(locateModel(reference, options(hub)), {
        code: 'model_download_failed',
        message: /expected were 5/,
      });
    });
  });
});

test('a redirect within the hub keeps the token; loops and other protocols end', async () => {
  await withHub([{ kind: 'redirect', to: '/moved' }, serve], async (hub) => {
    await locateModel(reference, options(hub, { token: 'hf_secret' }));
    assert.equal(hub.requests[1]?.authorization, 'Bearer hf_secret');
  });
  await withHub([{ kind: 'redirect', to: '/again' }], async (hub) => {
    await assert.rejects(locateModel('tiny', options(hub)), { code: 'model_download_failed', message: /redirects/ });
    assert.equal(hub.requests.length, 6);
  });
  await withHub([{ kind: 'redirect', to: 'file:///etc/passwd' }], async (hub) => {
    await assert.rejects(locateModel('tiny', options(hub)), { code: 'model_download_failed', message: /not HTTP/ });
  });
});

test('a token is never part of an error, and one that cannot be a token is refused', async () => {
  await withHub([{ kind: 'status', status: 403 }], async (hub) => {
    for (const token of ['hf_secret', 'hf_secret\nx: y']) {
      await assert.rejects(locateModel('tiny', options(hub, { token })), (error: Error) => {
        assert.ok(!JSON.stringify([error.message, String(error.cause)]).includes('hf_secret'));
        return true;
      });
    }
    assert.equal(hub.requests.length, 1);
  });
});

const request = (environment: Readonly<Record<string, string>>) => ({
  name: 'tiny',
  file: { repository: 'owner/repo', revision: 'main', file: 'tiny.gguf' },
  partPath: join(home, 'request.part'),
  expectedBytes: content.length,
  expectedSha256: sha256(content),
  environment,
  onBytes: () => undefined,
  signal: undefined,
  retryDelayMs: 1,
  silenceMs: 50,
});

test('a proxy from the environment is used, except for hosts in NO_PROXY', async () => {
  await withHub([serve], async (proxy) => {
    await downloadFromHub(request({ HF_ENDPOINT: 'http://hub.invalid', HTTP_PROXY: proxy.origin }));
    assert.equal(proxy.requests[0]?.url, 'http://hub.invalid/owner/repo/resolve/main/tiny.gguf');
    await rm(join(home, 'request.part'));
    await withHub([serve], async (hub) => {
      await downloadFromHub(request({ HF_ENDPOINT: hub.origin, http_proxy: proxy.origin, no_proxy: '127.0.0.1' }));
      assert.deepEqual([hub.requests.length, proxy.requests.length], [1, 1]);
    });
  });
});

test('HTTPS goes through a tunnel of the proxy; one that closes every tunnel is given up', async () => {
  const targets: (string | undefined)[] = [];
  const proxy = createServer().on('connect', (asked, socket) => {
    targets.push(asked.url);
    socket.destroy();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  try {
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await assert.rejects(
      downloadFromHub(request({ HF_ENDPOINT: 'https://hub.invalid', HTTPS_PROXY: address })),
      /hub.invalid did not answer/,
    );
    assert.equal(targets[0], 'hub.invalid:443');
  } finally {
    proxy.close();
  }
});

test('a silent server is given up; an abort ends a download at once and keeps the part', async () => {
  await withHub([{ kind: 'silence' }], async (hub) => {
    await assert.rejects(downloadFromHub(request({ HF_ENDPOINT: hub.origin })), /did not answer|Timeout/);
  });
  await withHub([{ kind: 'cut', afterBytes: 100_000 }, { kind: 'silence' }], async (hub) => {
    const abort = new AbortController();
    const onProgress = ({ receivedBytes }: { receivedBytes: number }) => {
      if (receivedBytes > 0) setTimeout(() => abort.abort(new Error('enough')), 50);
    };
    await assert.rejects(locateModel('tiny', options(hub, { signal: abort.signal, onProgress })), /enough/);
    const kept = await readFile(part());
    assert.ok(kept.length > 0 && kept.equals(content.subarray(0, kept.length)));
    assert.deepEqual(await readdir(dirname(part())), ['tiny.gguf.part']);
  });
});

test('endpoint and path become one address; an endpoint that is none is refused', () => {
  const file = { repository: 'owner/repo', revision: 'main', file: 'a b/c.gguf' };
  assert.equal(hubUrl(file, {}).href, 'https://huggingface.co/owner/repo/resolve/main/a%20b/c.gguf');
  assert.equal(
    hubUrl(file, { HF_ENDPOINT: 'http://mirror/hf/' }).href,
    'http://mirror/hf/owner/repo/resolve/main/a%20b/c.gguf',
  );
  for (const HF_ENDPOINT of ['ftp://x', 'nonsense']) assert.throws(() => hubUrl(file, { HF_ENDPOINT }), /HF_ENDPOINT/);
});
