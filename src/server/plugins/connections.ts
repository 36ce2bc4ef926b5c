import type { Socket } from 'node:net';
import { NibbleError } from '../../errors.js';
import type { ErrorBody } from '../schemas/error.js';

/** What a connection got wrong before there was a request to route, by Node's code. */
const faults: Readonly<Record<string, { readonly status: string; readonly message: string }>> = {
  HPE_HEADER_OVERFLOW: { status: '431 Request Header Fields Too Large', message: 'The request headers are too large.' },
  ERR_HTTP_REQUEST_TIMEOUT: { status: '408 Request Timeout', message: 'The request took too long to arrive.' },
};
const malformed = { status: '400 Bad Request', message: 'The request is not valid HTTP.' };

/** Answers a connection whose bytes aren't a request, with the same error object as everywhere, and closes it. */
export function refuseConnection(error: { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const { status, message } = faults[error.code ?? ''] ?? malformed;
  const shown = new NibbleError('invalid_request', { message });
  const body: ErrorBody = { error: { message: shown.message, type: shown.type, param: null, code: shown.code } };
  const text = JSON.stringify(body);
  const head = [
    `HTTP/1.1 ${status}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${text}`, () => socket.destroy());
}
