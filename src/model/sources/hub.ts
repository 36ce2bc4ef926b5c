/** The Hugging Face hub as a source: address, access token, proxies, time-outs. */
import { EnvHttpProxyAgent } from 'undici';
import type { Environment } from './cache.js';
import { download } from './download.js';
import { Refused } from './refused.js';
import type { HubFile } from './registry.js';

const HUB_ENDPOINT = 'https://huggingface.co';
/** Names and TLS take long on a bad line, but not longer than this. */
const CONNECT_MS = 15_000;
/** Silence, before the answer or within it, after which the connection counts as dead. */
const SILENCE_MS = 30_000;
const RETRY_DELAY_MS = 500;

export type HubDownload = {
  readonly name: string;
  readonly file: HubFile;
  readonly partPath: string;
  readonly expectedBytes: number | null;
  readonly expectedSha256: string | null;
  readonly environment: Environment;
  readonly onBytes: (receivedBytes: number, totalBytes: number | null) => void;
  readonly signal: AbortSignal | undefined;
  readonly retryDelayMs?: number;
  readonly silenceMs?: number;
};

/**
 * Downloads a file of the hub to `partPath`. Honours HF_ENDPOINT, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HTTPS_PROXY,
 * HTTP_PROXY and NO_PROXY (small letters too). Errors as `download`.
 */
export async function downloadFromHub(what: HubDownload): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const { environment, file } = what;
  const silenceMs = what.silenceMs ?? SILENCE_MS;
  return download({
    name: what.name,
    url: hubUrl(file, environment),
    token: readToken(environment),
    connect: () => proxyAgent(environment, silenceMs),
    partPath: what.partPath,
    expectedBytes: what.expectedBytes,
    expectedSha256: what.expectedSha256,
    onBytes: what.onBytes,
    signal: what.signal,
    retryDelayMs: what.retryDelayMs ?? RETRY_DELAY_MS,
    answerMs: what.silenceMs ?? CONNECT_MS + SILENCE_MS,
  });
}

function proxyAgent(environment: Environment, silenceMs: number): EnvHttpProxyAgent {
  const variable = (name: string) => environment[name.toLowerCase()] ?? environment[name] ?? '';
  try {
    return new EnvHttpProxyAgent({
      httpProxy: variable('HTTP_PROXY'),
      httpsProxy: variable('HTTPS_PROXY') || variable('HTTP_PROXY'),
      noProxy: variable('NO_PROXY'),
      // As curl does: a plain HTTP address is asked of the proxy itself, only HTTPS gets a tunnel.
      proxyTunnel: false,
      connect: { timeout: CONNECT_MS },
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
    });
  } catch (error) {
    // The address may hold a password: it is not repeated.
    throw new Refused('HTTPS_PROXY or HTTP_PROXY is not a proxy address', { cause: error });
  }
}

function readToken(environment: Environment): string | null {
  const token = (environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN || '').trim();
  if (token === '') return null;
  if (!/^[\x21-\x7e]{1,512}$/.test(token)) throw new Refused('HF_TOKEN holds characters that no token has');
  return token;
}

export function hubUrl(file: HubFile, environment: Environment): URL {
  const endpoint = (environment.HF_ENDPOINT || HUB_ENDPOINT).replace(/\/+$/, '');
  const path = [...file.repository.split('/'), 'resolve', file.revision, ...file.file.split('/')];
  const text = `${endpoint}/${path.map(encodeURIComponent).join('/')}`;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new Refused('HF_ENDPOINT is not an HTTP address');
  }
  return new URL(text);
}
