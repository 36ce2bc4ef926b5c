import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  LogController,
} from 'fastify';
import { NibbleError } from '../errors.js';
import { BODY_BYTES_MAX, CONNECTIONS_MAX, REQUEST_RECEIVE_MS_MAX, SSE_PING_MS, SSE_STALL_MS_MAX } from '../limits.js';
import { KeyStore } from './access/keys.js';
import { COST_HEADERS } from './generation/cost-headers.js';
import type { Metrics } from './metrics/metrics.js';
import type { Models } from './models.js';
import { registerAccess } from './plugins/access.js';
import { refuseConnection } from './plugins/connections.js';
import { registerErrors, sendError } from './plugins/errors.js';
import { setSecurityHeaders } from './plugins/headers.js';
import { LazySchemas } from './plugins/lazy-schemas.js';
import { registerNesting } from './plugins/nesting.js';
import { followRequest, requestIdFrom } from './plugins/requests.js';
import { registerChat } from './routes/chat.js';
import { type GenerationRouteOptions, registerCompletions } from './routes/completions.js';
import { type CostReports, registerCost } from './routes/cost.js';
import { registerDocs } from './routes/docs.js';
import { registerHealth } from './routes/health.js';
import { registerMetrics } from './routes/metrics.js';
import { registerModels } from './routes/models.js';
import { registerPage } from './routes/page.js';
import { registerResponses } from './routes/responses.js';
import { registerTokens } from './routes/tokens.js';
import { registerVersion } from './routes/version.js';
import type { Tracing } from './tracing.js';

export type AppOptions = {
  /** What there is to serve; the app listens before any of them is loaded. */
  readonly models: Models;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
  /** Who may ask; by default everybody. */
  readonly keys?: KeyStore;
  /** Origins whose pages may ask, or `*`; by default none. */
  readonly corsOrigins?: readonly string[];
  /** Whether only this machine reaches the server; then, without keys, it answers to no other host's name. */
  readonly isLocal?: boolean;
  /** Certificate and key, PEM: serves HTTPS. */
  readonly tls?: TlsFiles | null;
  /** By default there are none. */
  readonly tracing?: Tracing | null;
  /** The page at `/`, HTML; without one (the default: null) there is none. */
  readonly page?: string | null;
  /** What requests have cost; by default nobody knows. */
  readonly costReports?: CostReports | null;
  /** Longest time from a request to the end of its answer, ms; without one (the default: null) it may last. */
  readonly requestMsMax?: number | null;
  /** Times of the event streams, ms; by default those in limits.ts. */
  readonly pingMs?: number;
  readonly stallMs?: number;
};

export type TlsFiles = { readonly cert: Buffer; readonly key: Buffer };

/** An HTTP server with the bounds, the ids, the headers and the error answers that all of them have. */
export function createFastify(logger: FastifyBaseLogger, tls: TlsFiles | null, metrics: Metrics): FastifyInstance {
  const schemas = new LazySchemas();
  const begin = (request: FastifyRequest, reply: FastifyReply): void => {
    followRequest(request, reply, metrics);
    setSecurityHeaders(reply, tls !== null);
  };
  const options = {
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_RECEIVE_MS_MAX,
    requestIdHeader: false,
    genReqId: (request) => requestIdFrom(request.headers['x-request-id']),
    // Draining is ours: streams must end, and probes need answers until the end.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    clientErrorHandler: refuseConnection,
    // URLs that can't be decoded, or whose parameters are too long. No hook sees these.
    frameworkErrors: (_error, request, reply) => {
      begin(request, reply);
      sendError(new NibbleError('invalid_request', { message: 'The URL is not valid.' }), request, reply);
    },
    // Wrong types are errors, never converted: "1" isn't a number, and null isn't 0.
    // `expected` is our own annotation.
    ajv: {
      onCreate: (ajv) => schemas.attach(ajv),
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: false,
        keywords: ['expected'],
      },
    },
  } satisfies FastifyServerOptions;
  // What differs in type, the server below, is used through what both have in common.
  const app = tls === null ? Fastify(options) : (Fastify({ ...options, https: tls }) as unknown as FastifyInstance);
  app.decorate('compileSchemas', () => schemas.compileAll());
  app.addHook('onRequest', async (request, reply) => begin(request, reply));
  return app;
}

/** Browsers ask beforehand whether a page of another origin may call; without origins they get no permission. */
function registerCors(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const origin = origins.includes('*') ? '*' : [...origins];
  const exposed = ['x-request-id', 'retry-after', ...COST_HEADERS];
  app.register(import('@fastify/cors'), { origin, exposedHeaders: exposed, maxAge: 3600, strictPreflight: false });
}

/** Names under which a local server is reached beside its address: those of the origins, all (null) with `*`. */
function hostNamesOf({ isLocal = false, corsOrigins = [] }: AppOptions): ReadonlySet<string> | null {
  if (!isLocal || corsOrigins.includes('*')) return null;
  return new Set(corsOrigins.flatMap((origin) => (URL.canParse(origin) ? [new URL(origin).hostname] : [])));
}

/** Builds the HTTP application. Nothing listens and nothing runs until the caller says so. */
export function buildApp(options: AppOptions): FastifyInstance {
  const { models, metrics } = options;
  const tls = options.tls ?? null;
  const app = createFastify(options.logger, tls, metrics);
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeContentTypeParser('text/plain');

  registerErrors(app);
  registerNesting(app);
  registerCors(app, options.corsOrigins ?? []);
  const keys = options.keys ?? new KeyStore([]);
  // After the permissions for browsers, which a refusal must carry too.
  app.after(() => registerAccess(app, keys, hostNamesOf(options)));
  registerHealth(app, models.readiness);
  registerMetrics(app, metrics);
  registerModels(app, models);
  const generation: GenerationRouteOptions = {
    models,
    tracing: options.tracing ?? null,
    sse: { pingMs: options.pingMs ?? SSE_PING_MS, stallMs: options.stallMs ?? SSE_STALL_MS_MAX },
    requestMsMax: options.requestMsMax ?? null,
  };
  registerCompletions(app, generation);
  registerChat(app, generation);
  registerResponses(app, generation);
  registerTokens(app, models);
  // A key sees its own costs; without keys, what was used without one.
  registerCost(app, options.costReports ?? null, (request) => request.apiKey?.name ?? '');
  registerVersion(app, metrics.version);
  registerDocs(app, metrics.version, keys);
  registerPage(app, options.page ?? null);
  return app;
}
