/**
 * Downloads one file over HTTP(S) into a `.part` file: resumes what is there, retries with backoff, and hashes while
 * streaming. Redirects are followed by hand, so that the access token never reaches another host.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dispatcher, request } from 'undici';
import { NibbleError } from '../../errors.js';
import { Refused } from './refused.js';

export type DownloadRequest = {
  /** For messages. */
  readonly name: string;
  readonly url: URL;
  readonly token: string | null;
  /** Called for each attempt; destroyed after it. */
  readonly connect: () => Dispatcher;
  /** The unfinished file; kept after a failure, so that the next attempt resumes. */
  readonly partPath: string;
  readonly expectedBytes: number | null;
  readonly expectedSha256: string | null;
  readonly onBytes: (receivedBytes: number, totalBytes: number | null) => void;
  readonly signal: AbortSignal | undefined;
  /** First wait before a retry, ms; it doubles up to RETRY_DELAY_MAX_MS. */
  readonly retryDelayMs: number;
  /** Longest wait for an answer's headers, ms, connecting included. */
  readonly answerMs: number;
};

/** Failures in a row without a byte of progress; with a first wait of 0.5 s they take about 8 s. */
const FAILURES_MAX = 5;
/** All failures together: a server that cuts every connection after a few bytes must not keep us for ever. */
const ATTEMPTS_MAX = 100;
const RETRY_DELAY_MAX_MS = 30_000;
const REDIRECTS_MAX = 5;

/** Worth another attempt. */
class Interrupted extends Error {
  constructor(
    message: string,
    readonly retryAfterMs: number = 0,
    /** What is in the part is of no use. */
    readonly restart = false,
  ) {
    super(message);
  }
}

/** The `.part` file with the hash of what it holds. */
class Part {
  bytes = 0;
  private hash: Hash = createHash('sha256');
  /** Whether some of it comes from an earlier process, which might have been downloading another version. */
  inherited = false;

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  static async open(path: string): Promise<Part> {
    const part = new Part(path, await open(path, 'a'));
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) part.count(chunk);
    part.inherited = part.bytes > 0;
    return part;
  }

  private count(chunk: Buffer): void {
    this.hash.update(chunk);
    this.bytes += chunk.length;
  }

  async append(chunk: Buffer): Promise<void> {
    try {
      await this.file.writeFile(chunk);
    } catch (error) {
      throw new Refused(`writing failed: ${(error as Error).message}`, { cause: error });
    }
    this.count(chunk);
  }

  async restart(): Promise<void> {
    await this.file.truncate(0);
    this.bytes = 0;
    this.hash = createHash('sha256');
    this.inherited = false;
  }

  digest(): string {
    return this.hash.copy().digest('hex');
  }

  async close(remove: boolean): Promise<void> {
    await this.file.close();
    if (remove) await rm(this.path, { force: true });
  }
}

/**
 * Downloads to `partPath` and verifies. Throws `model_checksum_mismatch` (the part is removed), Refused with a reason,
 * or the signal's reason.
 */
export async function download(what: DownloadRequest): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const part = await Part.open(what.partPath);
  let mismatch = false;
  try {
    for (let attempt = 1, failures = 0; ; attempt += 1) {
      const before = part.bytes;
      try {
        return await attemptDownload(what, part);
      } catch (error) {
        what.signal?.throwIfAborted();
        mismatch = error instanceof NibbleError;
        if (!(error instanceof Interrupted)) throw error;
        if (error.restart) await part.restart();
        failures = part.bytes > before ? 1 : failures + 1;
        if (failures >= FAILURES_MAX || attempt >= ATTEMPTS_MAX) throw new Refused(error.message, { cause: error });
        const backoff = what.retryDelayMs * 2 ** (failures - 1) * (1 + Math.random() / 4);
        const delay = Math.min(RETRY_DELAY_MAX_MS, Math.max(backoff, error.retryAfterMs));
        await sleep(delay, undefined, what.signal === undefined ? {} : { signal: what.signal });
      }
    }
  } finally {
    await part.close(mismatch);
  }
}

async function attemptDownload(what: DownloadRequest, part: Part) {
  if (what.expectedSha256 !== null && part.bytes === what.expectedBytes && part.digest() === what.expectedSha256) {
    return { bytes: part.bytes, sha256: what.expectedSha256 };
  }
  const dispatcher = what.connect();
  try {
    return await transfer(what, part, dispatcher);
  } finally {
    await dispatcher.destroy();
  }
}

async function transfer(what: DownloadRequest, part: Part, dispatcher: Dispatcher) {
  const { response, linked } = await openResponse(what, dispatcher, part.bytes);
  const { body } = response;
  // An unread body would keep its connection; errors on it after this point concern nobody.
  body.on('error', () => undefined);
  const expectedBytes = what.expectedBytes ?? linked.bytes;
  let total: number | null;
  try {
    total = await prepare(response, part, expectedBytes);
  } catch (error) {
    body.destroy();
    throw error;
  }
  what.onBytes(part.bytes, total);
  await receive(body, part, total, what);
  if (total !== null && part.bytes < total) {
    throw new Interrupted(`the connection ended after ${part.bytes} of ${total} bytes`);
  }
  const expected = what.expectedSha256 ?? linked.sha256;
  const actual = part.digest();
  if (expected !== null && actual !== expected) {
    if (part.inherited) {
      throw new Interrupted('the part of an earlier download belonged to another file', 0, true);
    }
    throw new NibbleError('model_checksum_mismatch', { path: what.partPath, expected, actual });
  }
  return { bytes: part.bytes, sha256: actual };
}

/** Checks status and length, empties the part if the server starts from the beginning; returns the total size. */
async function prepare(response: Dispatcher.ResponseData, part: Part, expectedBytes: number | null) {
  const { statusCode, headers } = response;
  if (headers['content-encoding'] !== undefined && headers['content-encoding'] !== 'identity') {
    throw new Refused(`the server sent the content encoding ${headers['content-encoding']}`);
  }
  let total = expectedBytes;
  if (statusCode === 206) {
    const range = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(String(headers['content-range'] ?? ''));
    if (range === null || Number(range[1]) !== part.bytes) {
      throw new Interrupted('the server sent another range than was asked for', 0, true);
    }
    if (range[2] !== '*') total = Number(range[2]);
  } else {
    if (part.bytes > 0) await part.restart();
    const length = /^\d{1,15}$/.exec(String(headers['content-length'] ?? ''));
    if (length !== null) total = Number(length[0]);
  }
  if (expectedBytes !== null && total !== expectedBytes) {
    throw new Refused(`the server has a file of ${total} bytes, expected were ${expectedBytes}`);
  }
  return total;
}

async function receive(body: AsyncIterable<Buffer>, part: Part, total: number | null, what: DownloadRequest) {
  try {
    for await (const chunk of body) {
      if (total !== null && part.bytes + chunk.length > total) {
        throw new Refused(`the server sent more than the ${total} bytes that it announced`);
      }
      await part.append(chunk);
      what.onBytes(part.bytes, total);
    }
  } catch (error) {
    if (error instanceof Refused) throw error;
    what.signal?.throwIfAborted();
    throw new Interrupted(describe(error));
  }
}

type Linked = { bytes: number | null; sha256: string | null };

/** Follows redirects to a 200 or 206. `linked` is what the first host says about a large file that it refers to. */
async function openResponse(what: DownloadRequest, dispatcher: Dispatcher, from: number) {
  const linked: Linked = { bytes: null, sha256: null };
  let url = what.url;
  for (let hops = 0; hops <= REDIRECTS_MAX; hops += 1) {
    const isHome = url.origin === what.url.origin;
    const response = await send(what, dispatcher, url, requestHeaders(what, url, from, isHome));
    if (isHome) readLinked(response.headers, linked, response.statusCode);
    if (response.statusCode === 200 || response.statusCode === 206) return { response, linked };
    await discard(response);
    const location = response.headers.location;
    if (response.statusCode < 300 || response.statusCode >= 400 || typeof location !== 'string') {
      throw refusal(what, response, from);
    }
    url = redirectTarget(url, location);
  }
  throw new Refused(`more than ${REDIRECTS_MAX} redirects`);
}

function requestHeaders(what: DownloadRequest, url: URL, from: number, isHome: boolean): Record<string, string> {
  const headers: Record<string, string> = { 'user-agent': 'nibble', 'accept-encoding': 'identity' };
  if (from > 0) headers.range = `bytes=${from}-`;
  if (isHome && what.token !== null && maySendToken(url)) headers.authorization = `Bearer ${what.token}`;
  return headers;
}

/**
 * Resolves when the answer's headers have come. undici (7.30) reconnects for ever to a proxy that closes each tunnel,
 * and looks at a signal only once it is connected: so time and signal are watched here, and the dispatcher's
 * destruction ends what is left behind.
 */
async function send(what: DownloadRequest, dispatcher: Dispatcher, url: URL, headers: Record<string, string>) {
  const { signal, answerMs } = what;
  signal?.throwIfAborted();
  const watch = new AbortController();
  const stop = () => watch.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(() => {
    watch.abort(new Error(`${url.host} did not answer within ${answerMs / 1000} s`));
  }, answerMs);
  const gaveUp = new Promise<never>((_, reject) => {
    watch.signal.addEventListener('abort', () => reject(watch.signal.reason), { once: true });
  });
  const answer = request(url, { dispatcher, headers, ...(signal === undefined ? {} : { signal }) });
  answer.catch(() => undefined);
  try {
    return await Promise.race([answer, gaveUp]);
  } catch (error) {
    signal?.throwIfAborted();
    throw new Interrupted(describe(error));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/** Clear text would show the token to the network; only this machine itself is excepted. */
function maySendToken(url: URL): boolean {
  return url.protocol === 'https:' || ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
}

function redirectTarget(from: URL, location: string): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from.href) : null;
  if (target === null || !['https:', 'http:'].includes(target.protocol)) {
    throw new Refused('the server redirects to an address that is not HTTP');
  }
  if (from.protocol === 'https:' && target.protocol === 'http:') {
    throw new Refused('the server redirects from HTTPS to unprotected HTTP');
  }
  return target;
}

/** The hub names a large file by its SHA-256, on the redirect (`x-linked-*`) or on the file itself (`etag`). */
function readLinked(headers: Dispatcher.ResponseData['headers'], linked: Linked, statusCode: number): void {
  const etag = headers['x-linked-etag'] ?? (statusCode < 300 ? headers.etag : undefined);
  const sha256 = /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(String(etag ?? ''));
  if (sha256 !== null) linked.sha256 = sha256[1] ?? null;
  const size = /^\d{1,15}$/.exec(String(headers['x-linked-size'] ?? ''));
  if (size !== null) linked.bytes = Number(size[0]);
}

function refusal(what: DownloadRequest, { statusCode, headers }: Dispatcher.ResponseData, from: number): Error {
  const where = what.url.host;
  if (statusCode === 401 || statusCode === 403) {
    const hint = what.token === null ? 'set HF_TOKEN if the model needs a login' : 'the token in use gives no access';
    return new Refused(`${where} denies access (HTTP ${statusCode}); ${hint}`);
  }
  if (statusCode === 404) return new Refused(`${where} has no such file (HTTP 404)`);
  const isTemporary = statusCode === 408 || statusCode === 429 || statusCode >= 500;
  // On a resumed download: the part is longer than the file.
  if (statusCode === 416 && from > 0) return new Interrupted(`${where} answered HTTP 416`, 0, true);
  if (isTemporary) {
    const seconds = Number(/^\d{1,6}$/.exec(String(headers['retry-after'] ?? ''))?.[0] ?? 0);
    return new Interrupted(`${where} answered HTTP ${statusCode}`, seconds * 1000);
  }
  return new Refused(`${where} answered HTTP ${statusCode}`);
}

async function discard(response: Dispatcher.ResponseData): Promise<void> {
  // Error pages are short; a longer one isn't worth keeping the connection for.
  await response.body.dump({ limit: 65_536 }).catch(() => undefined);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return 'the connection failed';
  const nested = error instanceof AggregateError ? error.errors[0] : error;
  const code = (nested as NodeJS.ErrnoException).code;
  return code === undefined ? nested.message : `${nested.message} (${code})`;
}
