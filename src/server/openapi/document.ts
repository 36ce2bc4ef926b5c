import type { TSchema } from 'typebox';
import { namedSchemas, type Operation, operations, type SchemaName } from './operations.js';

type Json = Readonly<Record<string, unknown>>;

/** What a status means, in all operations that have it. */
export const statusMeanings: Readonly<Record<number, string>> = {
  200: 'The answer.',
  400: 'The request is not valid: `param` names the field at fault.',
  401: 'No known API key came with the request.',
  404: 'There is no such model.',
  413: 'The body is too large.',
  415: 'The body is not JSON.',
  421: 'The server is for its own machine, and the request was for another host.',
  429: 'Too many requests wait, or the API key has reached its limit. `Retry-After` says when to try again.',
  500: 'The server failed.',
  503: 'The server loads, drains, or could not start the request in time. `Retry-After` says when to try again.',
  504: 'The request took longer than this server allows.',
};

/** A schema as OpenAPI 3.1 has it: JSON Schema, with our words for what a value must be as its description. */
function described(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(described);
  if (typeof schema !== 'object' || schema === null) return schema;
  const members = Object.entries(schema).map(([key, value]): [string, unknown] =>
    key === 'expected' && typeof value === 'string' ? ['description', `Must be ${value}.`] : [key, described(value)],
  );
  return Object.fromEntries(members);
}

const reference = (name: SchemaName): Json => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: Json): Json => ({ 'application/json': { schema } });
const requestId = { 'x-request-id': { $ref: '#/components/headers/RequestId' } };

function okResponse(ok: NonNullable<Operation['ok']>): Json {
  const shared = { description: statusMeanings[200], headers: requestId };
  if ('mediaType' in ok) return { ...shared, content: { [ok.mediaType]: {} } };
  if (ok.events === undefined) return { ...shared, content: json(reference(ok.json)) };
  const description = `Server-sent events, with \`"stream": true\`: each \`data:\` line is a ${ok.events}.`;
  const events = { schema: { description } };
  return { ...shared, content: { ...json(reference(ok.json)), 'text/event-stream': events } };
}

function errorResponse(status: number): Json {
  const wait = { 'retry-after': { $ref: '#/components/headers/RetryAfter' } };
  return {
    description: statusMeanings[status],
    headers: { ...requestId, ...(status === 429 || status === 503 ? wait : {}) },
    content: json(reference('Error')),
  };
}

function responsesOf({ ok, errors, others, isOpen }: Operation, needsKey: boolean): Json {
  const statuses = [...errors, ...(needsKey && isOpen !== true ? [401] : [])].sort();
  return {
    ...(ok === undefined ? {} : { 200: okResponse(ok) }),
    ...Object.fromEntries(statuses.map((status) => [status, errorResponse(status)])),
    ...Object.fromEntries(
      Object.entries(others ?? {}).map(([status, name]) => [
        status,
        { description: statusMeanings[Number(status)], headers: requestId, content: json(reference(name)) },
      ]),
    ),
  };
}

/** Such as `postV1ChatCompletions`. */
const operationId = ({ method, path }: Operation): string =>
  [method, ...(path.match(/[a-zA-Z0-9]+/g) ?? []).map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))].join(
    '',
  );

function operationObject(operation: Operation, needsKey: boolean): Json {
  const { body, example, isOpen, path, query, summary } = operation;
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const parameters = [
    ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    ...Object.entries(query?.properties ?? {}).map(([name, schema]) => ({
      name,
      in: 'query',
      schema: described(schema),
    })),
  ];
  const content = body && { 'application/json': { schema: reference(body), ...(example && { example }) } };
  return {
    operationId: operationId(operation),
    summary,
    ...(needsKey && isOpen !== true ? { security: [{ key: [] }] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(content && { requestBody: { required: true, content } }),
    responses: responsesOf(operation, needsKey),
  };
}

/**
 * The API as an OpenAPI 3.1 document. Rules that join several fields (`best_of` ≥ `n`) and those that depend on the
 * model (token ids) aren't in it: what breaks them gets 400, as the document says.
 */
export function openApiDocument(version: string, needsKey: boolean): Json {
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    const { path, method } = operation;
    paths[path] = { ...paths[path], [method]: operationObject(operation, needsKey) };
  }
  const schemas = Object.entries<TSchema>(namedSchemas).map(([name, schema]) => [name, described(schema)]);
  const text = { type: 'string' };
  return {
    openapi: '3.1.0',
    info: {
      title: 'Nibble',
      version,
      description: 'Inference of language models on CPUs, with the completions, chat and responses APIs of OpenAI.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: Object.fromEntries(schemas),
      headers: {
        RequestId: { description: 'Names the request in the log.', required: true, schema: text },
        RetryAfter: { description: 'Seconds to wait.', required: true, schema: { type: 'string', pattern: '^\\d+$' } },
      },
      ...(needsKey ? { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } } : {}),
    },
  };
}
