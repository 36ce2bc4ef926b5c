/** Every operation of the API: what it takes and gives. The document and the page at /docs are made of this table. */
import Type, { type TObject, type TSchema } from 'typebox';
import { ChatRequest } from '../schemas/chat-request.js';
import { ChatBody, ChatChunk } from '../schemas/chat-response.js';
import { CompletionRequest } from '../schemas/completion-request.js';
import { CompletionBody, CompletionChunk } from '../schemas/completion-response.js';
import { CostQuery, CostReport } from '../schemas/cost-report.js';
import { ErrorBody } from '../schemas/error.js';
import { HealthBody, LoadingBody, ReadyBody, VersionBody } from '../schemas/health.js';
import { ModelBody, ModelListBody } from '../schemas/models.js';
import { ResponsesRequest } from '../schemas/responses-request.js';
import { ResponseBody, ResponseEventBody } from '../schemas/responses-response.js';
import {
  DetokenizeBody,
  DetokenizeRequest,
  TokenizeBody,
  TokenizeRequest,
  TokenizerInfoBody,
} from '../schemas/tokens.js';

/** Schemas that have a name in the document. */
export const namedSchemas = {
  ChatChunk,
  ChatCompletion: ChatBody,
  ChatRequest,
  Completion: CompletionBody,
  CompletionChunk,
  CompletionRequest,
  CostReport,
  Detokenized: DetokenizeBody,
  DetokenizeRequest,
  EmbeddingRequest: Type.Object({ model: Type.Optional(Type.String()) }),
  Error: ErrorBody,
  Health: HealthBody,
  Loading: LoadingBody,
  Model: ModelBody,
  ModelList: ModelListBody,
  Ready: ReadyBody,
  Response: ResponseBody,
  ResponseEvent: ResponseEventBody,
  ResponsesRequest,
  Tokenized: TokenizeBody,
  TokenizeRequest,
  TokenizerInfo: TokenizerInfoBody,
  Version: VersionBody,
} as const satisfies Readonly<Record<string, TSchema>>;
export type SchemaName = keyof typeof namedSchemas;

export type Operation = {
  readonly method: 'get' | 'post';
  /** With parameters as OpenAPI writes them. */
  readonly path: string;
  readonly summary: string;
  readonly body?: SchemaName;
  /** Parameters of the query: the members of an object. */
  readonly query?: TObject;
  /** An example of the body. */
  readonly example?: object;
  /** The answer with status 200: JSON of a schema, or another media type. */
  readonly ok?: { readonly json: SchemaName; readonly events?: SchemaName } | { readonly mediaType: string };
  /** Statuses with an error object. */
  readonly errors: readonly number[];
  /** Statuses with another body. */
  readonly others?: Readonly<Record<number, SchemaName>>;
  /** Needs no API key. */
  readonly isOpen?: true;
};

const question = 'What is the capital of France?';
const generation = [400, 404, 413, 415, 429, 500, 503, 504];
const tokens = [400, 404, 413, 415, 429, 500, 503];

export const operations: readonly Operation[] = [
  {
    method: 'post',
    path: '/v1/completions',
    summary: 'Continues prompts.',
    body: 'CompletionRequest',
    example: { model: 'default', prompt: 'The capital of France is', max_tokens: 8, temperature: 0 },
    ok: { json: 'Completion', events: 'CompletionChunk' },
    errors: generation,
  },
  {
    method: 'post',
    path: '/v1/chat/completions',
    summary: 'Answers a conversation.',
    body: 'ChatRequest',
    example: { model: 'default', messages: [{ role: 'user', content: question }], max_completion_tokens: 32 },
    ok: { json: 'ChatCompletion', events: 'ChatChunk' },
    errors: generation,
  },
  {
    method: 'post',
    path: '/v1/responses',
    summary: "Answers in the newer form of OpenAI's API, without state on the server.",
    body: 'ResponsesRequest',
    example: { model: 'default', input: question, max_output_tokens: 32 },
    ok: { json: 'Response', events: 'ResponseEvent' },
    errors: generation,
  },
  {
    method: 'post',
    path: '/v1/embeddings',
    summary: 'Refused: the models that are served generate text.',
    body: 'EmbeddingRequest',
    errors: [400, 413, 415, 503],
  },
  {
    method: 'post',
    path: '/tokenize',
    summary: 'Turns a text or a conversation into token ids.',
    body: 'TokenizeRequest',
    example: { prompt: 'Hello' },
    ok: { json: 'Tokenized' },
    errors: tokens,
  },
  {
    method: 'post',
    path: '/detokenize',
    summary: 'Turns token ids into text.',
    body: 'DetokenizeRequest',
    example: { tokens: [19556] },
    ok: { json: 'Detokenized' },
    errors: tokens,
  },
  {
    method: 'get',
    path: '/tokenizer_info',
    summary: 'BOS and EOS token, and the chat template.',
    ok: { json: 'TokenizerInfo' },
    errors: [503],
  },
  {
    method: 'get',
    path: '/v1/models',
    summary: 'The model that is served.',
    ok: { json: 'ModelList' },
    errors: [503],
  },
  {
    method: 'get',
    path: '/v1/models/{id}',
    summary: 'One model by its id, or `default`.',
    ok: { json: 'Model' },
    errors: [400, 404, 503],
  },
  {
    method: 'get',
    path: '/v1/cost',
    summary: 'What requests of the key have cost, from the ledger.',
    query: CostQuery,
    ok: { json: 'CostReport' },
    errors: [400, 429, 503],
  },
  {
    method: 'get',
    path: '/health',
    summary: 'Is the model loaded? Stays 200 while the server drains.',
    ok: { json: 'Health' },
    errors: [],
    others: { 503: 'Loading' },
    isOpen: true,
  },
  {
    method: 'get',
    path: '/ready',
    summary: 'Are new requests welcome?',
    ok: { json: 'Ready' },
    errors: [503],
    isOpen: true,
  },
  {
    method: 'get',
    path: '/metrics',
    summary: 'Metrics in the text format of Prometheus.',
    ok: { mediaType: 'text/plain' },
    errors: [],
    isOpen: true,
  },
  { method: 'get', path: '/version', summary: 'The version of the program.', ok: { json: 'Version' }, errors: [] },
  {
    method: 'get',
    path: '/openapi.json',
    summary: 'This description.',
    ok: { mediaType: 'application/json' },
    errors: [],
    isOpen: true,
  },
  {
    method: 'get',
    path: '/docs',
    summary: 'This description, for people.',
    ok: { mediaType: 'text/html' },
    errors: [],
    isOpen: true,
  },
  {
    method: 'get',
    path: '/',
    summary: 'A page to try the models on, and to watch the server.',
    ok: { mediaType: 'text/html' },
    errors: [],
    isOpen: true,
  },
];
