import { isIP } from 'node:net';

/**
 * Whether a request's `Host` can be meant for a server that only this machine reaches: an address, `localhost`, or one
 * of `names`. A web page that lets its own name point at 127.0.0.1 (DNS rebinding) passes as one origin with the server
 * and could read everything; its name gives it away. `host` has a port or none; without one nothing can be wrong.
 */
export function isLocalHost(host: string | undefined, names: ReadonlySet<string>): boolean {
  const name = (host ?? '').replace(/:\d*$/, '').toLowerCase().replace(/\.$/, '');
  const address = /^\[(.*)\]$/.exec(name)?.[1] ?? name;
  if (name === '' || isIP(address) !== 0) return true;
  return name === 'localhost' || name.endsWith('.localhost') || names.has(name);
}
