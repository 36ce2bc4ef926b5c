/**
 * OpenTelemetry traces: a span for each request that generates, with its time in the queue, in prefill and in decode.
 * Switched on, and set up, by the standard environment variables alone; the packages aren't even loaded otherwise.
 */
import type { Context, Span } from '@opentelemetry/api';
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify';
import type { GenerationRequest, SequenceSummary } from '../engine/types.js';
import { TRACE_FLUSH_MS_MAX } from '../limits.js';
import type { TraceParts } from './trace-parts.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Whether traces are wanted: somewhere to send them is named, and nothing says no. */
export function wantsTraces(env: Environment): boolean {
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return false;
  const [exporter = 'otlp'] = (env.OTEL_TRACES_EXPORTER || 'otlp').split(',');
  if (exporter.trim() !== 'otlp') return false;
  return Boolean(env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT);
}

/** Milliseconds since 1970, as exact as the clock that measured them. */
const now = (): number => performance.timeOrigin + performance.now();

/** The span of one request. It holds no text: neither prompts nor answers. */
export class RequestTrace {
  readonly #parts: TraceParts;
  readonly #span: Span;
  readonly #context: Context;
  #promptTokens = 0;
  #completionTokens = 0;

  constructor(parts: TraceParts, request: FastifyRequest, reply: FastifyReply) {
    const route = request.routeOptions.url ?? '';
    const parent = parts.parentOf(request.headers);
    const attributes = { 'http.request.method': request.method, 'http.route': route, 'nibble.request.id': request.id };
    const startTime = now() - reply.elapsedTime;
    const options = { kind: parts.codes.server, startTime, attributes };
    this.#parts = parts;
    this.#span = parts.tracer.startSpan(`${request.method} ${route}`, options, parent);
    this.#context = parts.within(parent, this.#span);
    reply.raw.once('close', () => this.#end(reply));
  }

  /** The sequences as they are to be submitted: what they report becomes spans. */
  watch(requests: readonly GenerationRequest[], model: string): readonly GenerationRequest[] {
    this.#span.setAttribute('gen_ai.response.model', model);
    return requests.map((request, index) => ({
      ...request,
      onEnd: (summary, ids) => {
        request.onEnd?.(summary, ids);
        this.#sequenceEnded(summary, index);
      },
    }));
  }

  #sequenceEnded(summary: SequenceSummary, index: number): void {
    const { promptTokens, completionTokens, queueSeconds, firstTokenSeconds, totalSeconds, reason } = summary;
    const end = now();
    const begin = end - totalSeconds * 1000;
    const admitted = begin + queueSeconds * 1000;
    const first = firstTokenSeconds === null ? end : begin + firstTokenSeconds * 1000;
    // Choices of one request share their prompt; what differs is told by each.
    this.#promptTokens = Math.max(this.#promptTokens, promptTokens);
    this.#completionTokens += completionTokens;
    const sequence = { 'nibble.sequence': index };
    this.#child('queue', begin, admitted, sequence);
    this.#child('prefill', admitted, first, { ...sequence, 'nibble.prompt_tokens': promptTokens });
    if (firstTokenSeconds === null) return;
    const decode = { ...sequence, 'nibble.completion_tokens': completionTokens, 'nibble.finish_reason': reason };
    this.#child('decode', first, end, decode);
  }

  #child(name: string, startTime: number, endTime: number, attributes: Record<string, string | number>): void {
    this.#parts.tracer.startSpan(name, { startTime, attributes }, this.#context).end(Math.max(startTime, endTime));
  }

  #end(reply: FastifyReply): void {
    // A response that was never ended lost its client; 499 is what the log calls it, too.
    const status = reply.raw.writableEnded ? reply.raw.statusCode : 499;
    this.#span.setAttributes({
      'http.response.status_code': status,
      'gen_ai.usage.input_tokens': this.#promptTokens,
      'gen_ai.usage.output_tokens': this.#completionTokens,
    });
    if (status >= 500) this.#span.setStatus({ code: this.#parts.codes.error });
    this.#span.end(now());
  }
}

export class Tracing {
  readonly #parts: TraceParts;

  constructor(parts: TraceParts) {
    this.#parts = parts;
  }

  begin(request: FastifyRequest, reply: FastifyReply): RequestTrace {
    return new RequestTrace(this.#parts, request, reply);
  }

  /** Sends what wasn't sent yet, for as long as that is worth waiting for. */
  async close(): Promise<void> {
    const late = new Promise<void>((resolve) => {
      setTimeout(resolve, TRACE_FLUSH_MS_MAX).unref();
    });
    await Promise.race([this.#parts.shutDown().catch(() => undefined), late]);
  }
}

/**
 * Traces by the variables `OTEL_…`; null if none are wanted. The packages read the variables of the process themselves.
 * What can't be sent is logged and lost.
 */
export async function createTracing(
  env: Environment,
  version: string,
  logger: FastifyBaseLogger,
): Promise<Tracing | null> {
  if (!wantsTraces(env)) return null;
  const { createTraceParts } = await import('./trace-parts.js');
  return new Tracing(createTraceParts(version, logger));
}
