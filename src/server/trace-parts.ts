/** The OpenTelemetry packages, put together: a module of its own, loaded only where traces are wanted. */
import {
  type Context,
  DiagLogLevel,
  defaultTextMapGetter,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { FastifyBaseLogger, FastifyRequest } from 'fastify';

/** What traces need of the packages. */
export type TraceParts = {
  readonly tracer: Tracer;
  /** The caller's span from the request's `traceparent`, if it has one. */
  readonly parentOf: (headers: FastifyRequest['headers']) => Context;
  readonly within: (context: Context, span: Span) => Context;
  readonly codes: { readonly server: number; readonly error: number };
  readonly shutDown: () => Promise<void>;
};

export function createTraceParts(version: string, logger: FastifyBaseLogger): TraceParts {
  const say = (message: string): void => logger.warn({ message }, 'trouble with traces');
  const quiet = (): void => {};
  diag.setLogger({ error: say, warn: say, info: quiet, debug: quiet, verbose: quiet }, DiagLogLevel.WARN);
  const resource = defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'nibble', 'service.version': version }))
    .merge(detectResources({ detectors: [envDetector] }));
  const spanProcessors = [new BatchSpanProcessor(new OTLPTraceExporter())];
  const provider = new BasicTracerProvider({ resource, spanProcessors });
  const propagator = new W3CTraceContextPropagator();
  return {
    tracer: provider.getTracer('nibble', version),
    parentOf: (headers) => propagator.extract(ROOT_CONTEXT, headers, defaultTextMapGetter),
    within: (context, span) => trace.setSpan(context, span),
    codes: { server: SpanKind.SERVER, error: SpanStatusCode.ERROR },
    shutDown: () => provider.shutdown(),
  };
}
