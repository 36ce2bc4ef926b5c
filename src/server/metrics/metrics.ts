import { Counter, Registry } from 'prom-client';
import type { EnergyMonitor } from '../../metering/energy-monitor.js';
import { addKeySeries, addLedger, addMoney, type CostSums, type LedgerGauges } from './cost-series.js';
import { ModelMetrics } from './model-metrics.js';
import { ModelSeries } from './model-series.js';
import { addCounter, addGauge, single } from './scraped.js';

/**
 * All metrics of one server. The `vllm:` names are vLLM's own, so that routers and autoscalers made for it work with no
 * adapter; `nibble_` names are what it lacks. Everything is counted as it happens and only formatted when scraped.
 */
export class Metrics {
  readonly #registry = new Registry();
  /** Series of API keys: only for whoever runs the server. */
  readonly #keyRegistry = new Registry();
  /** Of the program. */
  readonly version: string;
  readonly #series = new ModelSeries(this.#registry);
  readonly #http: Counter<'route' | 'method' | 'status'>;

  constructor(version: string) {
    this.version = version;
    this.#http = new Counter({
      name: 'nibble_http_requests_total',
      help: 'HTTP responses.',
      labelNames: ['route', 'method', 'status'],
      registers: [this.#registry],
    });
    this.#addBuild();
    this.#addProcess();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The exposition text. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** The same, and the series of API keys. */
  async textWithKeys(): Promise<string> {
    return `${await this.text()}${await this.#keyRegistry.metrics()}`;
  }

  /** For a model that is about to be loaded: what its engine reports to, and its series once it is there. */
  addModel(): ModelMetrics {
    return new ModelMetrics(this.#series);
  }

  /** Energy as it is measured from now on, by what it went into. */
  addEnergy(monitor: Pick<EnergyMonitor, 'totals'>): void {
    addCounter(this.#registry, {
      name: 'nibble_energy_joules_total',
      help: 'Energy of the machine ("measured"), of its work ("modelled") or CPU time ("tdp"), by what it went into.',
      labels: ['phase', 'source'],
      read: () =>
        [...monitor.totals()].flatMap(([source, totals]) =>
          Object.entries(totals).map(([phase, value]) => ({ labels: { phase, source }, value })),
        ),
    });
  }

  /** What that is worth, for all and by API key, and how the ledger is. */
  addCosts(book: CostSums, ledger: LedgerGauges | null): void {
    addMoney(this.#registry, book);
    addKeySeries(this.#keyRegistry, book);
    if (ledger !== null) addLedger(this.#registry, ledger);
  }

  /** `route` is the pattern, not the URL: the number of series must not depend on what clients ask for. */
  countResponse(route: string, method: string, status: number): void {
    this.#http.inc({ route, method, status: String(status) });
  }

  #addBuild(): void {
    addGauge(this.#registry, {
      name: 'nibble_build_info',
      help: 'What is running: version, instruction set, threads.',
      labels: ['version', 'isa', 'threads'],
      read: () => {
        const [model] = this.#series.models;
        const { version } = this;
        return [{ labels: { version, isa: model?.level ?? 'none', threads: String(model?.threads ?? 0) }, value: 1 }];
      },
    });
  }

  /** The few process metrics that dashboards expect. The usual set samples the event loop, on an idle server too. */
  #addProcess(): void {
    const startSeconds = Date.now() / 1000 - process.uptime();
    addGauge(this.#registry, {
      name: 'process_resident_memory_bytes',
      help: 'Resident memory.',
      read: () => single(process.memoryUsage.rss()),
    });
    addGauge(this.#registry, {
      name: 'process_start_time_seconds',
      help: 'Start of the process, Unix time.',
      read: () => single(startSeconds),
    });
    addCounter(this.#registry, {
      name: 'process_cpu_seconds_total',
      help: 'CPU time used, user and system.',
      read: () => {
        const { user, system } = process.cpuUsage();
        return single((user + system) / 1e6);
      },
    });
  }
}
