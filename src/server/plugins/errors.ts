import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import { type ErrorCode, NibbleError } from '../../errors.js';
import { BODY_BYTES_MAX } from '../../limits.js';
import type { ErrorBody } from '../schemas/error.js';
import { expectedAt } from '../schemas/fields.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Code of the error that the request was answered with, for the log. */
    errorCode: string | null;
  }
}

/** An error as it goes over the wire. */
export type ErrorResponse = {
  readonly status: number;
  readonly retryAfterSeconds: number | null;
  readonly body: ErrorBody;
};

/** The field to blame when whoever raised the error doesn't know about requests. */
const paramOf: Partial<Record<ErrorCode, string>> = {
  context_length_exceeded: 'prompt',
  kv_capacity_exceeded: 'max_tokens',
};

const invalid = (message: string, param?: string) =>
  new NibbleError('invalid_request', { message }, param === undefined ? {} : { param });

/** The first failure of the schema, in the words of the schema. */
function fromValidation(error: FastifyError, schema: TSchema): NibbleError {
  const failure = error.validation?.[0];
  const missing = failure?.keyword === 'required' ? failure.params.missingProperty : undefined;
  const path = (failure?.instancePath ?? '').split('/').slice(1);
  if (typeof missing === 'string') {
    const whole = [...path, missing];
    const param = whole.join('.');
    const found = expectedAt(schema, whole);
    const expected = found?.param === param ? `; it must be ${found.expected}` : '';
    return invalid(`'${param}' is required${expected}.`, param);
  }
  if (path.length === 0) return invalid('The body must be a JSON object.');
  const { param, expected } = expectedAt(schema, path) ?? { param: path[0], expected: 'something else' };
  return invalid(`'${param}' must be ${expected}.`, param);
}

/** Fastify's own errors as ours; null for what isn't a fault of the request. */
function fromFastify(error: FastifyError, contentType: string, schema: TSchema): NibbleError | null {
  if (error.validation !== undefined) return fromValidation(error, schema);
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new NibbleError('body_too_large', { limitBytes: BODY_BYTES_MAX });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new NibbleError('unsupported_media_type', { contentType: contentType.slice(0, 128) });
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return invalid('The body is empty; send a JSON object.');
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return invalid('The body is not valid JSON.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return invalid('The body is not as long as Content-Length says.');
    default:
      return typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500
        ? invalid('The request is not valid.')
        : null;
  }
}

const isFastifyError = (error: unknown): error is FastifyError =>
  error instanceof Error && !(error instanceof NibbleError) && 'code' in error;

/** Any error as an error object; `schema` is the one that the body had to fit. What isn't expected is logged and shown as `internal`, without its details. */
export function describeError(
  error: unknown,
  log: FastifyBaseLogger,
  contentType = '',
  schema: TSchema = Type.Object({}),
): ErrorResponse {
  const known = isFastifyError(error) ? fromFastify(error, contentType, schema) : null;
  const shown: NibbleError = error instanceof NibbleError ? error : (known ?? new NibbleError('internal', {}));
  if (shown.status >= 500 && shown.status !== 503) log.error({ err: error }, 'request failed');
  return {
    status: shown.status,
    retryAfterSeconds: shown.retryAfterSeconds ?? (shown.status === 429 ? 1 : null),
    body: {
      error: {
        message: shown.message,
        type: shown.type,
        param: shown.param ?? paramOf[shown.code] ?? null,
        code: shown.code,
      },
    },
  };
}

/** Answers with an error object. */
export function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const schema = request.routeOptions.schema?.body as TSchema | undefined;
  const contentType = request.headers['content-type'];
  const { status, retryAfterSeconds, body } = describeError(error, request.log, contentType, schema);
  request.errorCode = body.error.code;
  // Fastify would close the connection under a client that still sends, which then sees a broken pipe and no answer.
  // Left open, the rest of the body is read and thrown away, for REQUEST_RECEIVE_MS_MAX at most.
  if (body.error.code === 'body_too_large') reply.removeHeader('connection');
  if (retryAfterSeconds !== null) reply.header('retry-after', String(retryAfterSeconds));
  void reply.code(status).send(body);
}

/** Every failure of a route, and every unknown route, becomes an OpenAI error object. */
export function registerErrors(app: FastifyInstance): void {
  app.decorateRequest('errorCode', null);
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply));
  const refuseUnknown = (request: FastifyRequest): never => {
    throw new NibbleError('route_not_found', { method: request.method, url: request.url.slice(0, 128) });
  };
  app.setNotFoundHandler(refuseUnknown);
  // Earlier than that handler, so that the body of a request to nowhere is never read.
  app.addHook('onRequest', async (request) => {
    if (request.is404) refuseUnknown(request);
  });
}

const otherMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'] as const;

/** Answers 405 with `Allow` for the methods that a known URL doesn't have. */
export function registerAllowed(app: FastifyInstance, url: string, allowed: readonly string[]): void {
  const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    reply.header('allow', allowed.join(', '));
    const parameters = { method: request.method, url: request.url.slice(0, 128), allowed: allowed.join(', ') };
    throw new NibbleError('method_not_allowed', parameters);
  };
  // In onRequest, so that the body of a refused request is never read.
  app.route({
    method: otherMethods.filter((method) => !allowed.includes(method)),
    url,
    onRequest: refuse,
    handler: refuse,
  });
}
