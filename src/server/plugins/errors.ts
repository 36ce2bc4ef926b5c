import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type TSchema } from 'typebox';
import { type ErrorCode, NibbleError } from '../../errors.js';
import { BODY_BYTES_MAX } from '../../limits.js';
import { operations } from '../openapi/operations.js';
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
  const unknown = failure?.keyword === 'additionalProperties' ? failure.params.additionalProperty : undefined;
  const path = (failure?.instancePath ?? '').split('/').slice(1);
  if (typeof unknown === 'string') {
    const param = [...path, unknown.slice(0, 64)].join('.');
    return invalid(`'${param}' is not a field of this request.`, param);
  }
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

/** Any error as an error object; `schema` is the one that the body or the query had to fit. What isn't expected is logged and shown as `internal`, without its details. */
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
  const { schema: schemas } = request.routeOptions;
  const isOfQuery = isFastifyError(error) && error.validationContext === 'querystring';
  const schema = (isOfQuery ? schemas?.querystring : schemas?.body) as TSchema | undefined;
  const contentType = request.headers['content-type'];
  const { status, retryAfterSeconds, body } = describeError(error, request.log, contentType, schema);
  request.errorCode = body.error.code;
  // Fastify would close the connection under a client that still sends, which then sees a broken pipe and no answer.
  // Left open, the rest of the body is read and thrown away, for REQUEST_RECEIVE_MS_MAX at most.
  if (body.error.code === 'body_too_large') reply.removeHeader('connection');
  if (retryAfterSeconds !== null) reply.header('retry-after', String(retryAfterSeconds));
  void reply.code(status).send(body);
}

/** What the server knows: URLs, and a method that each has. */
const knownRoutes = operations.map(({ path, method }) => ({
  pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
  methods: method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()],
}));

/** Throws `method_not_allowed`, with `Allow` in the answer, or `route_not_found`. */
function refuseUnknown(request: FastifyRequest, reply: FastifyReply, known: typeof knownRoutes): never {
  const { method } = request;
  const url = request.url.slice(0, 128);
  const path = url.replace(/\?.*$/, '');
  const allowed = known.flatMap(({ pattern, methods }) => (pattern.test(path) ? methods : [])).join(', ');
  if (allowed === '') throw new NibbleError('route_not_found', { method, url });
  reply.header('allow', allowed);
  throw new NibbleError('method_not_allowed', { method, url, allowed });
}

/** Every failure of a route, and every unknown route, becomes an OpenAI error object. `known`: URLs that get 405. */
export function registerErrors(app: FastifyInstance, known = knownRoutes): void {
  app.decorateRequest('errorCode', null);
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply));
  app.setNotFoundHandler((request, reply) => refuseUnknown(request, reply, known));
  // Earlier than that handler, so that the body of a request to nowhere is never read.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) refuseUnknown(request, reply, known);
  });
}
