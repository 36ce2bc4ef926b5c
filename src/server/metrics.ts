import { Counter, Gauge, Registry } from 'prom-client';
import type { EnergyMonitor } from '../metering/energy-monitor.js';
import { addKeySeries, addLedger, addMoney, type CostSums, type LedgerGauges } from './cost-metrics.js';
import { ModelMetrics, ModelSeries } from './model-metrics.js';

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
    new Counter({
      name: 'nibble_energy_joules_total',
      help: 'Energy of the machine ("measured"), of its work ("modelled") or CPU time ("tdp"), by what it went into.',
      labelNames: ['phase', 'source'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const [source, totals] of monitor.totals()) {
          for (const [phase, joules] of Object.entries(totals)) this.inc({ phase, source }, joules);
        }
      },
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

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(read());
      },
    });
  }

  #addBuild(): void {
    const read = () => {
      const [model] = this.#series.models;
      return { version: this.version, isa: model?.level ?? 'none', threads: String(model?.threads ?? 0) };
    };
    new Gauge({
      name: 'nibble_build_info',
      help: 'What is running: version, instruction set, threads.',
      labelNames: ['version', 'isa', 'threads'],
      registers: [this.#registry],
      collect() {
        this.reset();
        this.set(read(), 1);
      },
    });
  }

  /** The few process metrics that dashboards expect. The usual set samples the event loop, on an idle server too. */
  #addProcess(): void {
    const startSeconds = Date.now() / 1000 - process.uptime();
    this.#gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
    this.#gauge('process_start_time_seconds', 'Start of the process, Unix time.', () => startSeconds);
    new Counter({
      name: 'process_cpu_seconds_total',
      help: 'CPU time used, user and system.',
      registers: [this.#registry],
      collect() {
        const { user, system } = process.cpuUsage();
        this.reset();
        this.inc((user + system) / 1e6);
      },
    });
  }
}
