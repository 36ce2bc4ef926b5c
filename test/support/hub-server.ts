/** A stand-in for the model hub on 127.0.0.1: serves one file with ranges, and misbehaves as told. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type HubRequest = {
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
};

/** What to do with the n-th request; after the last one, the last is repeated. */
export type HubBehaviour =
  | { readonly kind: 'serve'; readonly headers?: Readonly<Record<string, string>>; readonly ignoreRange?: boolean }
  | { readonly kind: 'cut'; readonly afterBytes: number }
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'redirect'; readonly to: string; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'wrong-range' }
  | { readonly kind: 'silence' };

export type HubServer = {
  readonly origin: string;
  readonly requests: HubRequest[];
  close(): Promise<void>;
};

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

export async function startHubServer(content: Buffer, behaviours: readonly HubBehaviour[]): Promise<HubServer> {
  const requests: HubRequest[] = [];
  const server: Server = createServer((request, response) => {
    const { range, authorization } = request.headers;
    const behaviour = behaviours[Math.min(requests.length, behaviours.length - 1)] ?? { kind: 'serve' };
    requests.push({ url: request.url ?? '', range, authorization });
    answer(request, response, content, behaviour);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answer(request: IncomingMessage, response: ServerResponse, content: Buffer, behaviour: HubBehaviour): void {
  switch (behaviour.kind) {
    case 'status':
      response.writeHead(behaviour.status, behaviour.headers).end('no');
      return;
    case 'redirect':
      response.writeHead(302, { location: behaviour.to, ...behaviour.headers }).end();
      return;
    case 'silence':
      return;
    case 'wrong-range': {
      const range = `bytes 0-${content.length - 1}/${content.length}`;
      response.writeHead(206, { 'content-range': range, 'content-length': content.length }).end(content);
      return;
    }
    case 'serve':
    case 'cut': {
      const ignoreRange = behaviour.kind === 'serve' && behaviour.ignoreRange === true;
      const from = ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      if (from >= content.length) {
        response.writeHead(416).end();
        return;
      }
      const rest = content.subarray(from);
      const extra = behaviour.kind === 'serve' ? behaviour.headers : undefined;
      const range = from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {};
      response.writeHead(from > 0 ? 206 : 200, { 'content-length': rest.length, ...range, ...extra });
      if (behaviour.kind === 'serve') response.end(rest);
      else response.write(rest.subarray(0, behaviour.afterBytes), () => setTimeout(() => response.destroy(), 20));
    }
  }
}
