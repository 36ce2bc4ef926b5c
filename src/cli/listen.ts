/** Where `serve` listens, and how it is reached: addresses, certificates, and reading them again. */
import { readFileSync, statSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { createSecureContext, Server as TlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { NibbleError } from '../errors.js';
import type { TlsFiles } from '../server/app.js';

/** Certificate and key, if there are any. Throws `config_invalid` if one lacks, can't be read, or they don't fit. */
export function readTls({ tlsCert, tlsKey }: Pick<Config, 'tlsCert' | 'tlsKey'>): TlsFiles | null {
  const failure = (key: 'tlsCert' | 'tlsKey', message: string, cause?: unknown) =>
    new NibbleError('config_invalid', { key, message }, { param: key, cause });
  if (tlsCert === null && tlsKey === null) return null;
  if (tlsCert === null) throw failure('tlsCert', 'is needed together with tlsKey');
  if (tlsKey === null) throw failure('tlsKey', 'is needed together with tlsCert');
  const read = (key: 'tlsCert' | 'tlsKey', path: string) => {
    try {
      return readFileSync(path);
    } catch (cause) {
      throw failure(key, `${path} can't be read`, cause);
    }
  };
  const files = { cert: read('tlsCert', tlsCert), key: read('tlsKey', tlsKey) };
  try {
    createSecureContext(files);
  } catch (cause) {
    throw failure('tlsCert', `${tlsCert} and ${tlsKey} are not a certificate and its key (PEM)`, cause);
  }
  return files;
}

export const originsOf = ({ corsOrigins }: Pick<Config, 'corsOrigins'>): readonly string[] =>
  (corsOrigins ?? '')
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '');

/** Whether other machines can reach the server. Of names only `localhost` is known to be this machine. */
export function isOpenToAll({ host, socket }: Pick<Config, 'host' | 'socket'>): boolean {
  if (socket !== null) return false;
  return !(host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host));
}

/** Removes the socket that a server left behind which was killed. One that somebody listens on stays. */
async function removeStaleSocket(path: string): Promise<void> {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const isStale = await new Promise<boolean>((resolve) => {
    const client = connect(path, () => {
      client.destroy();
      resolve(false);
    });
    client.once('error', (error) => resolve('code' in error && error.code === 'ECONNREFUSED'));
  });
  if (isStale) unlinkSync(path);
}

/** Listens; returns the URL, or `unix:` and the path. Throws `listen_failed`. */
export async function listen(app: FastifyInstance, config: Config): Promise<string> {
  const { host, socket } = config;
  try {
    if (socket === null) await app.listen({ host, port: config.port });
    else {
      await removeStaleSocket(socket);
      await app.listen({ path: socket });
    }
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new NibbleError('listen_failed', { address: socket ?? `${host}:${config.port}`, message }, { cause });
  }
  if (socket !== null) return `unix:${socket}`;
  const { port } = app.server.address() as AddressInfo;
  const scheme = config.tlsCert === null ? 'http' : 'https';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** On SIGHUP keys and certificates are read again. What is wrong with them is logged, and the old ones stay. */
export function onHangup(app: FastifyInstance, config: Config, logger: Logger, reloadKeys: () => void): void {
  process.on('SIGHUP', () => {
    try {
      reloadKeys();
      const tls = readTls(config);
      if (tls !== null && app.server instanceof TlsServer) app.server.setSecureContext(tls);
      logger.info('API keys and certificates were read again');
    } catch (error) {
      logger.error({ err: error }, 'API keys and certificates stay as they were');
    }
  });
}
