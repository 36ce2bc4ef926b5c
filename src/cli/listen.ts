/** Where `serve` listens, and how it is reached: addresses, certificates, and reading them again. */
import { statSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { createSecureContext, Server as TlsServer } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { configInvalid, messageOf, NibbleError } from '../errors.js';
import type { TlsFiles } from '../server/app.js';
import { readSettingFile } from '../setting-file.js';

/** Certificate and key, if there are any. Throws `config_invalid` if one lacks, can't be read, or they don't fit. */
export function readTls({ tlsCert, tlsKey }: Pick<Config, 'tlsCert' | 'tlsKey'>): TlsFiles | null {
  if (tlsCert === null && tlsKey === null) return null;
  if (tlsCert === null) throw configInvalid('tlsCert', 'is needed together with tlsKey');
  if (tlsKey === null) throw configInvalid('tlsKey', 'is needed together with tlsCert');
  const files = { cert: readSettingFile('tlsCert', tlsCert), key: readSettingFile('tlsKey', tlsKey) };
  try {
    createSecureContext(files);
  } catch (cause) {
    throw configInvalid('tlsCert', `${tlsCert} and ${tlsKey} are not a certificate and its key (PEM)`, cause);
  }
  return files;
}

/** Throws `config_invalid` for what no browser would send as an origin, and so would never fit. */
export function originsOf({ corsOrigins }: Pick<Config, 'corsOrigins'>): readonly string[] {
  const origins = (corsOrigins ?? '').split(',').map((origin) => origin.trim());
  const wrong = origins.find((origin) => !/^(|\*|null|[a-z][a-z0-9+.-]*:\/\/[^/?#]+)$/.test(origin));
  if (wrong === undefined) return origins.filter((origin) => origin !== '');
  throw configInvalid('corsOrigins', `'${wrong}' is no origin, such as https://app.example, and not *`);
}

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

/** What refusals to listen mean to who chose the address. */
const refusals: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'no permission, or no such folder',
  ENOTFOUND: 'no such host',
};

/** The error of an address that can't be listened on. */
export function listenFailure(address: string, cause: unknown): NibbleError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return new NibbleError('listen_failed', { address, message: refusals[code] ?? messageOf(cause) }, { cause });
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
    throw listenFailure(socket ?? `${host}:${config.port}`, cause);
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
      logger.error({ reason: messageOf(error) }, 'API keys and certificates stay as they were');
    }
  });
}
